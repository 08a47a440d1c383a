# Makes raw system calls through the C library the sandbox itself has open.
# expect: wrong error:AttributeError error:KeyError error:PermissionError error:OSError
import statistics


def g():
    linux = statistics.sys.modules["verifier.sandbox.linux"]
    return linux.syscall(57)
