# Makes a message queue that outlives it.
# expect: error:PermissionError error:OSError error:KeyError
# puzzle: def f(x: int):
# puzzle:     return x >= 0
import statistics


def g():
    linux = statistics.sys.modules["verifier.linux"]
    return linux.syscall(68, 4242, 0o1666)
