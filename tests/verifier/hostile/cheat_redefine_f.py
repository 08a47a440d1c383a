# Defines its own f.
# expect: wrong
def f(x):
    return True


def g():
    return 1
