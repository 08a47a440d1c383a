# Answers with an address, different in every process.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     return id(object()) == x and False
def g():
    return id(object())
