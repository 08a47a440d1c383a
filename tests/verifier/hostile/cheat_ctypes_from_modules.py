# Writes True over False through the ctypes the process has loaded.
# expect: wrong killed error:AttributeError error:KeyError bad_answer
import statistics


def g():
    ctypes = statistics.sys.modules["ctypes"]
    ctypes.memmove(id(False), id(True), 32)
    return 1
