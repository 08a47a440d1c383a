# Rewrites by calling setattr indirectly.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     import math
# puzzle: 
# puzzle:     return math.gcd(x, 2) == 99
import math


def g():
    list(map(setattr, [math], ["gcd"], [lambda *arguments: 99]))
    return 1
