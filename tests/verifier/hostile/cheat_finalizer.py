# Leaves an object behind that spoils things when it is collected.
# expect: wrong killed
class Spoiler:
    def __del__(self):
        import statistics

        statistics.sys.modules["verifier.worker.child"].ANSWER = "accepted"


kept = Spoiler()


def g():
    return 1
