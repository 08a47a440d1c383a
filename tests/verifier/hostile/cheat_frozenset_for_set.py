# A frozenset where a set is asked for.
# expect: wrong_type
# puzzle: def f(x: Set[int]):
# puzzle:     return 1 in x
def g():
    return frozenset([1])
