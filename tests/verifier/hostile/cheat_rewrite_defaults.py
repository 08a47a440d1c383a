# Rewrites the puzzle's defaults.
# expect: wrong
# puzzle: def f(x: int, secret=99):
# puzzle:     return x == secret * 7919
def g(secret=99):
    f.__defaults__ = (1,)
    return 7919
