# A generator as the answer: it would run in the judge.
# expect: bad_answer
def g():
    yield 1
