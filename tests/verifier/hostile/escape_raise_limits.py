# Raises its own limits.
# expect: error:PermissionError error:ValueError error:OSError
import statistics


def g():
    resource = statistics.sys.modules["resource"]
    resource.setrlimit(resource.RLIMIT_CPU, (10**6, 10**6))
    return 1
