# The puzzle evaluates the answer, which leaves the process.
# expect: wrong killed
# puzzle: def f(s: str):
# puzzle:     return eval(s) == 1
def g():
    return "__import__('random')._os._exit(0)"
