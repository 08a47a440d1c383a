# Opens a socket for raw packets.
# expect: error:PermissionError error:FileNotFoundError error:OSError error:ProcessLookupError error:KeyError
import statistics


def g():
    linux = statistics.sys.modules["verifier.sandbox.linux"]
    return linux.syscall(41, 17, 3, 0)
