# An object's finalizer returns for the program after the answer was taken.
# expect: wrong killed error:NameError
class Last:
    def __del__(self):
        import statistics

        statistics.sys.modules["verifier.worker.child"].ANSWER = "accepted"


keep = Last()


def g():
    return 1
