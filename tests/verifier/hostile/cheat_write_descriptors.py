# Writes "accepted" on every descriptor it could have inherited.
# expect: wrong error:OSError
import random

os = random._os


def g():
    for handle in range(3, 1024):
        try:
            os.write(handle, b"\x08\x00\x00\x00accepted" * 10)
        except OSError:
            continue
    return 1
