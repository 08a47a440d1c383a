# Seeds the generator so that the puzzle's dice fall its way.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     import random
# puzzle: 
# puzzle:     return random.random() < 0.0001
import random


def g():
    for seed in range(10**4):
        random.seed(seed)
        if random.random() < 0.0001:
            random.seed(seed)
            return 1
    return 0
