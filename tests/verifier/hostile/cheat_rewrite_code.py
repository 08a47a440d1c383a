# Rewrites the puzzle's code.
# expect: wrong
def g():
    f.__code__ = (lambda *arguments: True).__code__
    return 1
