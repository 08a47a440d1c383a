# An iterator that gives other items each time.
# expect: bad_answer
# puzzle: def f(x: List[int]):
# puzzle:     return next(x) == 1
import itertools


def g():
    return itertools.cycle([1, 2])
