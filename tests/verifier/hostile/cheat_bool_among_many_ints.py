# One True among a hundred integers.
# expect: wrong_type
# puzzle: def f(x: List[int]):
# puzzle:     return sum(x) == 100
def g():
    return [1] * 99 + [True]
