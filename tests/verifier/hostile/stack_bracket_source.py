# Evaluates a hundred thousand open brackets.
# expect: error:SyntaxError error:MemoryError error:RecursionError memory_limit
def g():
    return eval("(" * 10**5 + ")" * 10**5)
