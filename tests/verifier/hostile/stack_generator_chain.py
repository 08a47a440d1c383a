# Nests generators until resuming the innermost needs all the stack.
# expect: cpu_limit error:RecursionError killed memory_limit
def g():
    def chain(inner):
        yield from inner

    numbers = iter([1])
    for _ in range(20_000):
        numbers = chain(numbers)
    return next(numbers)
