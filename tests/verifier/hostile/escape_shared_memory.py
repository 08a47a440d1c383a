# Makes a shared memory segment others could find.
# expect: error:PermissionError error:OSError error:KeyError
# puzzle: def f(x: int):
# puzzle:     return x >= 0
import statistics


def g():
    linux = statistics.sys.modules["verifier.linux"]
    return linux.syscall(29, 4242, 4096, 0o1666)
