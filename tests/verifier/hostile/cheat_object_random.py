# Draws from the system's entropy, hoping to be lucky another time.
# expect: wrong error:PermissionError error:OSError error:NotImplementedError
import random


def g():
    return random.SystemRandom().randrange(10**30)
