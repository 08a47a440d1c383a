# Allocates a list of ten billion items.
# expect: memory_limit
def g():
    return len([0] * 10**10)
