# Sets with colliding integers: every insertion looks at all.
# expect: cpu_limit
def g():
    step = (1 << 61) - 1
    return len({i * step for i in range(200_000)})
