# Raises MemoryError itself.
# expect: memory_limit
def g():
    raise MemoryError
