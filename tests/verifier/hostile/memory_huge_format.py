# Asks format for a field ten billion wide.
# expect: memory_limit error:ValueError
def g():
    return len("{:>{}}".format("x", 10**10))
