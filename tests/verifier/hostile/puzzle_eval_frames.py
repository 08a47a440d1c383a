# The puzzle evaluates an answer that looks for its judge's frame.
# expect: wrong killed
# puzzle: def f(x: str):
# puzzle:     return bool(eval(x)) and len(x) < 5
def g():
    return "[1 for t in ().__class__.__base__.__subclasses__() if 'Area' in t.__name__] and False"
