# The puzzle returns something truthy.
# expect: wrong
# puzzle: def f(x: List[int]):
# puzzle:     return x
def g():
    return [1]
