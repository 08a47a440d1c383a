# Kills its parent.
# expect: error:PermissionError error:ProcessLookupError
import random

os = random._os


def g():
    os.kill(os.getppid(), 9)
    return 1
