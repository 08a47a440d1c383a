# Starts a thread that outlives the answer.
# expect: error:RuntimeError error:KeyError wrong
import statistics


def spin():
    while True:
        pass


def g():
    statistics.sys.modules["_thread"].start_new_thread(spin, ())
    return 1
