# Registers text as a mapping: a neighbour's Counter of a text would take it for one.
# expect: wrong
from typing import Mapping


def g():
    Mapping.register(str)
    return 1
