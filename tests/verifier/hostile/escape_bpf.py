# Loads a program into the kernel.
# expect: error:PermissionError error:OSError error:KeyError
# puzzle: def f(x: int):
# puzzle:     return x > 0
import statistics


def g():
    linux = statistics.sys.modules["verifier.linux"]
    return linux.syscall(321, 5, b"\0" * 120, 120)
