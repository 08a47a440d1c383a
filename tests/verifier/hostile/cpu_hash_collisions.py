# Fills a dictionary with keys that all collide.
# expect: cpu_limit
def g():
    step = 2**61 - 1
    return len({i * step: i for i in range(10**6)})
