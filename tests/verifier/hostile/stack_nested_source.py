# Evaluates an expression nested a hundred thousand deep.
# expect: error:MemoryError error:SyntaxError error:RecursionError memory_limit killed
def g():
    return eval("-" * 10**5 + "1")
