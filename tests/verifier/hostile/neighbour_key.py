# Leaves a key in the ring of its user, and finds that of another.
# expect: wrong error:AttributeError
import random

SEARCH, ADD, RING_OF_USER = 10, 248, -4
libc = random._os.sys.modules["ctypes"].CDLL(None)
found = libc.syscall(ADD + 2, SEARCH, RING_OF_USER, b"user", b"seed", 0) >= 0
if not found:
    libc.syscall(ADD, b"user", b"seed", b"data", 4, RING_OF_USER)


def g():
    return int(found)
