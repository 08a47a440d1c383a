# A square root of a number with ten million digits.
# expect: cpu_limit memory_limit
import math


def g():
    return math.isqrt((1 << 40_000_000) + 1) % 7
