# A source of ten thousand nested lambdas.
# expect: syntax memory_limit killed error:RecursionError error:NameError
def g():
    return eval("lambda: " * 10_000 + "1")
