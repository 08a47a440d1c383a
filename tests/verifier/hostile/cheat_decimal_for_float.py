# A Decimal where a float is asked for.
# expect: bad_answer
# puzzle: def f(x: float):
# puzzle:     return x == 0.5
from decimal import Decimal


def g():
    return Decimal("0.5")
