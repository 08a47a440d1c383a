# Recurses in the handler of the recursion error.
# expect: cpu_limit error:RecursionError killed
def g():
    try:
        return g()
    except RecursionError:
        return g()
