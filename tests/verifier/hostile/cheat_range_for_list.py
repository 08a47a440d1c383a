# A range where a list is wanted.
# expect: bad_answer
# puzzle: def f(x: List[int]):
# puzzle:     return len(x) == 3
def g():
    return range(3)
