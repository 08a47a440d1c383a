# The puzzle returns an object that is equal to everything.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     class Yes:
# puzzle:         def __eq__(self, other):
# puzzle:             return True
# puzzle:         def __bool__(self):
# puzzle:             return True
# puzzle:     return Yes()
def g():
    return 1
