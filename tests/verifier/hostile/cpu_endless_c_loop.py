# Loops for ever inside one C call, where no Python signal handler runs.
# expect: cpu_limit
def g():
    return sum(iter(int, 1))
