# Kills its process group.
# expect: error:PermissionError error:ProcessLookupError
import random

os = random._os


def g():
    os.killpg(0, 15)
    return 1
