# None where an integer is wanted.
# expect: wrong_type
# puzzle: def f(x: int):
# puzzle:     return not x
def g():
    return None
