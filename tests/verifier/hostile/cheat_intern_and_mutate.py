# Writes into an interned constant through ctypes.
# expect: error:ImportError
import ctypes


def address(thing):  # what `id` would give
    return int(object.__repr__(thing).split()[-1][:-1], 16)


def g():
    ctypes.memset(address(False), 1, 24)
    return 1
