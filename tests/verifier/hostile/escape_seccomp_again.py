# Asks for a filter that allows everything.
# expect: wrong error:PermissionError error:OSError error:KeyError error:AttributeError
# puzzle: def f(x: int):
# puzzle:     return x > 1
import statistics


def g():
    linux = statistics.sys.modules["verifier.linux"]
    linux.prctl(22, 0)
    return linux.syscall(57)
