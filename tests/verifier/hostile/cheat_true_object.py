# The puzzle returns what compares equal to True but is not.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     return 1
def g():
    return 1
