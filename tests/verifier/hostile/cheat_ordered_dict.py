# An OrderedDict where a dict is asked for.
# expect: bad_answer
# puzzle: def f(x: Dict[str, int]):
# puzzle:     return x['a'] == 1
from collections import OrderedDict


def g():
    return OrderedDict(a=1)
