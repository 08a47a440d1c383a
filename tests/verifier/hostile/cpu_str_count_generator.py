# Joins what a generator never stops giving.
# expect: cpu_limit memory_limit
def g():
    def letters():
        while True:
            yield ""

    return "".join(letters())
