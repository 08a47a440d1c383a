# The puzzle yields True instead of returning it.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     yield True
def g():
    return 1
