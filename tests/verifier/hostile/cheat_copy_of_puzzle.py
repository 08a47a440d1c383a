# Answers with what its own, rewritten copy of the puzzle accepts.
# expect: wrong
# puzzle: def f(x: int, secret=5):
# puzzle:     return x == secret * secret
def g(secret=5):
    f.__defaults__ = (3,)
    return next(x for x in range(100) if f(x))
