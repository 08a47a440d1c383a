# NaN where the puzzle would be fooled by comparisons.
# expect: wrong
# puzzle: def f(x: float):
# puzzle:     return not (x < 0) and not (x > 0) and x == x
def g():
    return float("nan")
