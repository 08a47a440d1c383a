# Rewrites a library function's code without an attribute store of its own.
# expect: wrong error:TypeError error:AttributeError error:ValueError
# puzzle: def f(x: int):
# puzzle:     import copy
# puzzle: 
# puzzle:     return copy.deepcopy(x) == 99
import copy
from functools import update_wrapper


def patch(x, memo=None, _nil=[]):
    return 99


def g():
    update_wrapper(copy.deepcopy, patch, assigned=("__code__",), updated=())
    return 1
