# Answers with the time, which a puzzle cannot ask for.
# expect: error:ImportError
import time


def g():
    return time.time_ns()
