# Looks for a shared memory segment of somebody else's.
# expect: error:PermissionError error:FileNotFoundError error:KeyError
import statistics


def g():
    linux = statistics.sys.modules["verifier.sandbox.linux"]
    return linux.syscall(29, 4242, 4096, 0)
