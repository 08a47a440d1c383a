# Closes every descriptor.
# expect: wrong
import random

os = random._os


def g():
    for handle in range(1024):
        try:
            os.close(handle)
        except OSError:
            continue
    return 1
