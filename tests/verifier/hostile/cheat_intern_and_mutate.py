# Writes into an interned constant through ctypes.
# expect: error:ImportError
import ctypes


def g():
    ctypes.memset(id(False), 1, 24)
    return 1
