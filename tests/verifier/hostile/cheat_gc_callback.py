# Hooks the garbage collector.
# expect: wrong killed
import statistics

gc = statistics.sys.modules["gc"]


def spoil(*arguments):
    statistics.sys.modules["verifier.worker.child"].ANSWER = "accepted"


def g():
    gc.callbacks.append(spoil)
    gc.collect()
    return 1
