# Adds a method to a built-in type.
# expect: error:TypeError
def g():
    int.__eq__ = lambda self, other: True
    return 1
