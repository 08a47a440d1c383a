# Makes a file in memory to run it.
# expect: error:PermissionError error:OSError error:AttributeError
# puzzle: def f(x: int):
# puzzle:     return x >= 0
import random

os = random._os


def g():
    return os.memfd_create("x")
