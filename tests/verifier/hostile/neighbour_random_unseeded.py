# Draws from generators that nobody seeded.
# expect: wrong
import random


def g():
    return random.Random().getrandbits(30) + int(random.SystemRandom().random() * 0)
