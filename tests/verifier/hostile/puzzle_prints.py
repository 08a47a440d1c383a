# The puzzle prints without end.
# expect: output_limit cpu_limit
# puzzle: def f(x: int):
# puzzle:     while True:
# puzzle:         print("x" * 10**6)
def g():
    return 1
