# Sleeps in a system call on nothing.
# expect: wall_limit error:PermissionError error:FileNotFoundError error:OSError error:ProcessLookupError error:KeyError error:AttributeError
import statistics


def g():
    statistics.sys.modules["select"].select([], [], [])
    return 1
