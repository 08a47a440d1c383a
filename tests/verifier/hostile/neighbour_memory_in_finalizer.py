# Wants memory where a MemoryError goes unseen.
# expect: wrong
def g():
    seen = []

    def h():
        try:
            yield
        finally:
            seen.append(len(bytes(300 << 20)))

    it = h()
    next(it)
    del it
    return len(seen)
