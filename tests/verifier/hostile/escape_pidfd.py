# Reaches for other processes by handle.
# expect: error:PermissionError error:ProcessLookupError error:OSError
# puzzle: def f(x: int):
# puzzle:     return x >= 0
import random

os = random._os


def g():
    return os.pidfd_open(1)
