# Answers with an address, different in every process.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     return int(object.__repr__(object()).split()[-1][:-1], 16) == x and False
def g():
    return int(object.__repr__(object()).split()[-1][:-1], 16)
