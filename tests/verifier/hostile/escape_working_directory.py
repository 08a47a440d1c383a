# Asks where it is.
# expect: wrong error:PermissionError error:FileNotFoundError
# puzzle: def f(s: str):
# puzzle:     return len(s) > 1
import random

os = random._os


def g():
    return os.getcwd()
