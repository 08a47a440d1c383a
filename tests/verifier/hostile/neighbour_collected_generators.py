# Counts its own generators as they are collected, which happens when memory says so.
# expect: wrong
def g():
    closed = [0]

    def h():
        try:
            yield
        finally:
            closed[0] += 1

    for _ in range(5000):
        it = h()
        next(it)
        loop = [it]
        loop.append(loop)
    return min(closed[0], 1)
