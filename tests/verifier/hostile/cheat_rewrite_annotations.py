# Rewrites the puzzle's annotation to fit its answer.
# expect: wrong_type
# puzzle: def f(x: int):
# puzzle:     return len(str(x)) == 4
def g():
    f.__annotations__["x"] = str
    return "text"
