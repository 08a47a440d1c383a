# Counts a product of iterables within C.
# expect: cpu_limit
import itertools


def g():
    return sum(1 for _ in itertools.product(range(1000), repeat=5))
