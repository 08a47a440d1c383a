# True where an integer is wanted.
# expect: wrong_type
# puzzle: def f(x: int):
# puzzle:     return x == 1
def g():
    return True
