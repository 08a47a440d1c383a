# Answers with an address, which is another one in every process.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     return x == id(object())
def g():
    return id(object())
