# True inside a list of integers.
# expect: wrong_type
# puzzle: def f(x: List[int]):
# puzzle:     return x == [1, 1]
def g():
    return [1, True]
