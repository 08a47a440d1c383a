# Looks for keys in the kernel's ring.
# expect: error:PermissionError error:OSError error:KeyError
import statistics


def g():
    linux = statistics.sys.modules["verifier.sandbox.linux"]
    return linux.syscall(250, 0, -3, 1, 0, 0)
