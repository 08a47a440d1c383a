# A formatter of the library finds attributes by a text as well.
# expect: wrong
import string


def g():
    return len(string.Formatter().vformat("{0.__class__.__base__}", (1,), {}))
