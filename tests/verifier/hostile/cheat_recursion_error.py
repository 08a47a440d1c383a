# Raises RecursionError itself.
# expect: error:RecursionError
def g():
    raise RecursionError
