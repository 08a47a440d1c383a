# A factorial whose digits nobody will see.
# expect: cpu_limit memory_limit
import math


def g():
    return math.factorial(10**7) % 7
