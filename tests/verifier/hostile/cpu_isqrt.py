# A square root of a number with ten million digits. (3.12 is quick enough to answer.)
# expect: cpu_limit memory_limit wrong
import math


def g():
    return math.isqrt((1 << 40_000_000) + 1) % 7
