# Puts a fake module in the place of math.
# expect: wrong error:TypeError
# puzzle: def f(x: int):
# puzzle:     import math
# puzzle: 
# puzzle:     return math.gcd(x, 2) == 99
import statistics


class Fake:
    gcd = staticmethod(lambda *arguments: 99)


def g():
    statistics.sys.modules["math"] = Fake
    return 1
