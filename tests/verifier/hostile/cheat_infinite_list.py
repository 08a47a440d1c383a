# An infinity among floats, to be greater than everything.
# expect: wrong
# puzzle: def f(x: List[float]):
# puzzle:     return sorted(x) == x and all(y == y for y in x)
def g():
    return [float("inf"), float("-inf"), float("nan")]
