# Leaves a result for others in a module.
# expect: wrong error:ZeroDivisionError
import math


def g():
    for math.left_by_me in (1, 2):
        pass
    return math.left_by_me
