# Looks for a message queue of somebody else's.
# expect: error:PermissionError error:FileNotFoundError error:KeyError
import statistics


def g():
    linux = statistics.sys.modules["verifier.sandbox.linux"]
    return linux.syscall(68, 4242, 0)
