# The text that is a format comes by one of two ways, so that no constant stands before the dot.
# expect: wrong
def g(n=3):
    return len(("{0.__class__.__mro__}" if n else "{0}").format(g))
