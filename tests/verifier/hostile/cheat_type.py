# A class as the answer.
# expect: bad_answer
def g():
    return int
