# The puzzle returns 1, which is equal to True.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     return x
def g():
    return 1
