# Minus zero where zero is asked for by its text.
# expect: wrong
# puzzle: def f(x: float):
# puzzle:     return repr(x) == '0.0'
def g():
    return -0.0
