# Forks as often as it can.
# expect: error:PermissionError error:BlockingIOError error:OSError
import random

os = random._os


def g():
    while True:
        os.fork()
