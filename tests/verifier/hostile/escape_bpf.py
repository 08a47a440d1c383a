# Loads a program into the kernel.
# expect: error:PermissionError error:OSError error:KeyError
import statistics


def g():
    linux = statistics.sys.modules["verifier.sandbox.linux"]
    return linux.syscall(321, 5, b"\0" * 120, 120)
