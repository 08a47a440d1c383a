# The puzzle changes its answer in place and compares it with itself.
# expect: wrong
# puzzle: def f(x: List[int]):
# puzzle:     y = x
# puzzle:     x.sort()
# puzzle:     return y == [3, 2, 1]
def g():
    return [3, 2, 1]
