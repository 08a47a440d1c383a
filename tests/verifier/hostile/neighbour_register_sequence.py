# Registers sets as sequences, for neighbours who ask.
# expect: wrong
from collections import ChainMap


def g():
    ChainMap.register(set)
    return int(isinstance(set(), ChainMap))
