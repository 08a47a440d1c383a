# Defines g with an argument nobody gives.
# expect: error:TypeError
def g(x):
    return 1
