# Answers with a text of half a gigabyte.
# expect: output_limit memory_limit cpu_limit
# puzzle: def f(x: str):
# puzzle:     return False
def g():
    return "x" * (5 * 10**8)
