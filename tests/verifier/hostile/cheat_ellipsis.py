# Ellipsis.
# expect: bad_answer
def g():
    return ...
