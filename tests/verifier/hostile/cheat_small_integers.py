# Makes the small integer 2 equal to 3 by writing into it.
# expect: wrong killed error:AttributeError error:KeyError bad_answer
# puzzle: def f(x: int):
# puzzle:     return x == 2 and 1 + 1 == 3
import statistics


def address(thing):  # what `id` would give
    return int(object.__repr__(thing).split()[-1][:-1], 16)


def g():
    ctypes = statistics.sys.modules["ctypes"]
    ctypes.memmove(address(2) + 24, address(3) + 24, 4)
    return 2
