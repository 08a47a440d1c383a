# Registers int as one of numbers' kinds of anything.
# expect: wrong
# puzzle: def f(x: str):
# puzzle:     import numbers
# puzzle:     return isinstance(x, numbers.Rational)
import numbers


def g():
    numbers.Rational.register(str)
    return "x"
