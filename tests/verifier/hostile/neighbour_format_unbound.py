# The method of texts is passed on, and never called by its name.
# expect: wrong
def g():
    return len(list(map(str.format, ["{0.__class__}"], [g]))[0])
