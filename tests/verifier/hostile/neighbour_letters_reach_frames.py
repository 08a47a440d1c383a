# Letters that are normalised to ASCII's spell what leads to code.
# expect: wrong
def g():
    return g.__ｃode__.co_firstlineno
