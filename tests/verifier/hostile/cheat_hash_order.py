# Depends on the order of a set of strings, differently each time it is asked.
# expect: wrong
# puzzle: def f(x: str):
# puzzle:     return len(x) == 9
def g():
    return "".join({"a", "b", "c", "d", "e", "f", "g"})
