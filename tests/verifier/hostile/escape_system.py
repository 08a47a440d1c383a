# Runs a shell.
# expect: wrong error:PermissionError error:BlockingIOError
# puzzle: def f(x: int):
# puzzle:     return x == 0
import random

os = random._os


def g():
    return os.system("true")
