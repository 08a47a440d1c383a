# Writes into its parent's memory by system call.
# expect: error:PermissionError error:OSError error:KeyError error:ProcessLookupError
import random
import statistics

os = random._os


def g():
    linux = statistics.sys.modules["verifier.sandbox.linux"]
    return linux.syscall(311, os.getppid(), None, 0, None, 0, 0) + 1
