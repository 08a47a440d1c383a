# Changes a list that is the puzzle's default in its own copy.
# expect: wrong
# puzzle: def f(x: int, allowed=[5]):
# puzzle:     return x in allowed
def g(allowed=[5]):
    f.__defaults__[0].append(1)
    return 1
