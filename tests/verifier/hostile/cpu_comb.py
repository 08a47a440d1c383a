# A binomial coefficient of two huge numbers.
# expect: cpu_limit memory_limit error:OverflowError
import math


def g():
    return math.comb(10**12, 10**8) % 7
