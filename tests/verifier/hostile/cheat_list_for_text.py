# A list of letters where a text is wanted.
# expect: wrong_type
# puzzle: def f(s: str):
# puzzle:     return len(s) == 2
def g():
    return ["a", "b"]
