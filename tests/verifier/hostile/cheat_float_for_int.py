# A float where an integer is wanted.
# expect: wrong_type
# puzzle: def f(x: int):
# puzzle:     return x == 2
def g():
    return 2.0
