# Sets up a ring through which files are opened without system calls.
# expect: error:PermissionError error:OSError error:KeyError
import statistics


def g():
    linux = statistics.sys.modules["verifier.sandbox.linux"]
    return linux.syscall(425, 8, b"\0" * 120) + 1
