# The puzzle evaluates the answer, which crashes it.
# expect: wrong killed memory_limit
# puzzle: def f(s: str):
# puzzle:     return eval(s) == 1
def g():
    return "().__class__.__base__.__subclasses__()"
