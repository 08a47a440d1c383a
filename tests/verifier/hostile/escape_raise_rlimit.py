# Lifts its own limits of memory and CPU before it eats both.
# expect: cpu_limit memory_limit error:PermissionError error:OSError error:ValueError error:KeyError
import statistics


def g():
    resource = statistics.sys.modules["resource"]
    for name in ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_NOFILE", "RLIMIT_NPROC"):
        resource.setrlimit(getattr(resource, name), (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return 1
