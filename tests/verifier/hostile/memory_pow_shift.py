# Shifts one bit a hundred billion places.
# expect: memory_limit error:OverflowError
def g():
    return 1 << 100_000_000_000
