# Bytes where text is asked for.
# expect: wrong_type
# puzzle: def f(x: str):
# puzzle:     return True
def g():
    return b"abc"
