# Calls itself for ever.
# expect: error:RecursionError
def g():
    return g() + 1
