# Writes True over False through the ctypes the process has loaded.
# expect: wrong killed error:AttributeError error:KeyError bad_answer
import statistics


def address(thing):  # what `id` would give
    return int(object.__repr__(thing).split()[-1][:-1], 16)


def g():
    ctypes = statistics.sys.modules["ctypes"]
    ctypes.memmove(address(False), address(True), 32)
    return 1
