# Looks for keys in the kernel's ring.
# expect: error:PermissionError error:OSError error:KeyError
# puzzle: def f(x: int):
# puzzle:     return x > 0
import statistics


def g():
    linux = statistics.sys.modules["verifier.linux"]
    return linux.syscall(250, 0, -3, 1, 0, 0)
