# Asks for a filter that allows everything.
# expect: wrong error:PermissionError error:OSError error:KeyError error:AttributeError
import statistics


def g():
    linux = statistics.sys.modules["verifier.sandbox.linux"]
    linux.prctl(22, 0)
    return linux.syscall(57)
