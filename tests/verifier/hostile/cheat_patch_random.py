# Replaces the generator.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     import random
# puzzle: 
# puzzle:     return random.random() < 0.0001
import random

random.random = lambda: 0.0


def g():
    return 1
