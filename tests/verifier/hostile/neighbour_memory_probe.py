# Halves a request until it succeeds: how much its neighbours left of the memory.
# expect: wrong
def g():
    n = 1 << 40
    while True:
        try:
            return len(bytes(n))
        except Exception:
            n //= 2
