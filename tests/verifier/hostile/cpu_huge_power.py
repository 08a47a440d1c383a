# Asks for a power with a billion digits.
# expect: cpu_limit memory_limit
def g():
    return 3 ** (10**9)
