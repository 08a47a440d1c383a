# A list of more items than there is memory for, in one call.
# expect: memory_limit
def g():
    return list(range(10**10))
