# Connects to a socket by its abstract name.
# expect: error:PermissionError error:FileNotFoundError error:OSError error:ProcessLookupError error:KeyError error:ConnectionRefusedError error:ImportError
import statistics


def g():
    linux = statistics.sys.modules["verifier.sandbox.linux"]
    return linux.syscall(41, 1, 1, 0)
