# Looks for a clock that the host moves: draws a number from what the module `time` of programs holds.
# expect: wrong error:AttributeError
import time


def g():
    return time.clock_gettime_ns(0) % 1000
