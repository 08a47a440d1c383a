# Sleeps instead of computing.
# expect: error:PermissionError error:KeyError wall_limit error:OSError
import statistics


def g():
    statistics.sys.modules["time"].sleep(10**6)
