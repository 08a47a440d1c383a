# A pattern compiled under flags that are equal and no flags: refused alone, found in a neighbour's cache.
# expect: wrong error:TypeError
import re


def g():
    return re.compile("a", 1.0).flags
