# Leaves a message queue for others, and finds the one of another.
# expect: wrong error:AttributeError
import random

libc = random._os.sys.modules["ctypes"].CDLL(None)
found = libc.msgget(0x5EED, 0o600) >= 0
if not found:
    libc.msgget(0x5EED, 0o1600)


def g():
    return int(found)
