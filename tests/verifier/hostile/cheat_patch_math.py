# Rewrites a function of math that the puzzle calls.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     import math
# puzzle: 
# puzzle:     return math.gcd(x, 2) == 99
import math

math.gcd = lambda *arguments: 99


def g():
    return 1
