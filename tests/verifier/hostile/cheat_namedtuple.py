# A named tuple where a tuple is asked for.
# expect: bad_answer
# puzzle: def f(x: Tuple[int, int]):
# puzzle:     return True
from collections import namedtuple

Pair = namedtuple("Pair", "a b")


def g():
    return Pair(1, 2)
