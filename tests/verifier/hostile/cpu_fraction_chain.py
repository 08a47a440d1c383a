# Fractions whose denominators grow without end.
# expect: cpu_limit memory_limit
from fractions import Fraction


def g():
    x = Fraction(1, 3)
    for i in range(10**6):
        x = x * x + Fraction(1, i + 2)
    return x.numerator % 7
