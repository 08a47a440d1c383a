# None in a list of integers.
# expect: wrong_type
# puzzle: def f(x: List[int]):
# puzzle:     return len(x) == 2
def g():
    return [1, None]
