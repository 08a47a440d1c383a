# Stops its parent, so that the judge hangs.
# expect: error:PermissionError error:ProcessLookupError
import random

os = random._os


def g():
    os.kill(os.getppid(), 19)
    return 1
