# The puzzle keeps state in a default, by which a second answer would pass.
# expect: wrong
# puzzle: def f(x: int, seen=[]):
# puzzle:     seen.append(x)
# puzzle:     return len(seen) > 1
def g():
    return 2
