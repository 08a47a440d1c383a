# Asks by a text what others left behind.
# expect: wrong
import copy
import fractions


def g():
    copy.copy(fractions.Fraction(1, 3))
    return int(hasattr(fractions.Fraction, "__slotnames__"))
