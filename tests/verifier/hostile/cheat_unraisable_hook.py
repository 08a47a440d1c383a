# Answers from the hook of exceptions that nobody can catch.
# expect: wrong killed
import statistics

sys = statistics.sys


class Noisy:
    def __del__(self):
        raise ValueError


def hook(args):
    sys.modules["verifier.worker.child"].ANSWER = "accepted"


def g():
    sys.unraisablehook = hook
    Noisy()
    return 1
