# Answers with the time, which is the same for everybody.
# expect: wrong
import time


def g():
    return time.time_ns()
