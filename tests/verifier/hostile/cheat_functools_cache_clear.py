# Fills a cache of a function that puzzles use.
# expect: wrong error:TypeError
# puzzle: def f(x: List[int]):
# puzzle:     import statistics
# puzzle:     return statistics.mean(x) == 42 and x == [1]
import functools
import statistics


def g():
    for function in list(vars(functools).values()):
        if hasattr(function, "cache_parameters"):
            function.cache_clear()
    statistics.mean = lambda values: 42
    return [1]
