# Kills every process it may.
# expect: error:PermissionError error:ProcessLookupError
import random

os = random._os


def g():
    os.kill(-1, 9)
    return 1
