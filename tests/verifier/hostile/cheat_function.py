# The solution itself as the answer.
# expect: bad_answer
def g():
    return g
