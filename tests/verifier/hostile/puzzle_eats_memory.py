# The puzzle eats all memory on this answer.
# expect: memory_limit
# puzzle: def f(x: int):
# puzzle:     return len([0] * x) > 0
def g():
    return 10**10
