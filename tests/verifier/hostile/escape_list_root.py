# Lists the root of the file system.
# expect: wrong error:PermissionError error:FileNotFoundError
# puzzle: def f(x: int):
# puzzle:     return x > 0
import random

os = random._os


def g():
    return len(os.listdir("/"))
