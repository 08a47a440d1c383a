# Loops for ever in a membership test of an endless iterator.
# expect: cpu_limit
import itertools


def g():
    return 1 in itertools.repeat(0)
