# Raises an exception whose text has a hundred megabytes.
# expect: error:ValueError memory_limit
def g():
    raise ValueError("x" * 100_000_000)
