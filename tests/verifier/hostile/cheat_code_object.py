# A code object as the answer.
# expect: bad_answer
def g():
    return g.__code__
