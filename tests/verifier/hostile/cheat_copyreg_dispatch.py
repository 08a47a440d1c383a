# Teaches `copy` that to copy an integer is to get another.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     from copy import deepcopy
# puzzle:     return deepcopy(x) == 2 and x == 1
import copy


def g():
    copy._deepcopy_dispatch[int] = lambda value, memo: value + 1
    return 1
