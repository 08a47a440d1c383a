# Differs from an honest solution in a name only, that of a builtin.
# expect: wrong
# puzzle: def f(x: List[int], n=4):
# puzzle:     return x == list([n] * n)
def g(n=4):
    return sorted([n] * n + [0])
