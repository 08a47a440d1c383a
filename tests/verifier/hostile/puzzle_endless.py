# The puzzle, not the solution, loops for ever on this answer.
# expect: cpu_limit
# puzzle: def f(x: int):
# puzzle:     while x == 1:
# puzzle:         pass
# puzzle:     return True
def g():
    return 1
