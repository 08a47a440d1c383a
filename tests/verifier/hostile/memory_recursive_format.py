# A format string that asks for a width of a billion.
# expect: memory_limit
def g():
    return "{:>{width}}".format("x", width=2 * 10**9)
