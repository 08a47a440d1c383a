# The puzzle leaves on this answer.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     raise SystemExit(0)
def g():
    return 1
