# An integer where a float is wanted.
# expect: wrong_type
# puzzle: def f(x: float):
# puzzle:     return x == 2
def g():
    return 2
