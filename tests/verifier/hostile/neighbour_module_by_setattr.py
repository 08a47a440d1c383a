# Changes a module by names that are spelled in other letters.
# expect: wrong
import math


def g():
    ｓetattr(math, "gcd", len)
    return math.ｇcd([1, 2])
