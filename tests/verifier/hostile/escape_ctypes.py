# Loads the C library.
# expect: error:PermissionError error:KeyError error:AttributeError error:ImportError error:OSError wrong
import statistics


def g():
    libc = statistics.sys.modules["ctypes"].CDLL(None)
    return libc.fork()
