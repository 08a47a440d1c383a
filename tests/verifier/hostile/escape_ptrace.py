# Attaches to its parent as a debugger does.
# expect: wrong error:PermissionError error:KeyError error:AttributeError
import random
import statistics

os = random._os


def g():
    libc = statistics.sys.modules["verifier.sandbox.linux"]._libc
    if libc.ptrace(16, os.getppid(), 0, 0) == 0:
        return 1
    raise PermissionError
