# Takes over the handling of page faults.
# expect: error:PermissionError error:OSError error:KeyError
import statistics


def g():
    linux = statistics.sys.modules["verifier.sandbox.linux"]
    return linux.syscall(323, 0)
