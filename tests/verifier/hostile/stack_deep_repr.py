# Compares two lists nested a hundred thousand deep.
# expect: error:RecursionError killed memory_limit
def g():
    a, b = [], []
    for _ in range(100_000):
        a, b = [a], [b]
    return a == b
