# Makes its own process report `same` for what it was given.
# expect: wrong killed bad_answer error:AttributeError infrastructure
import statistics

child = statistics.sys.modules["verifier.worker.child"]


def g():
    for name in ("ANSWER", "NOT_PLAIN", "FULL", "NO_MEMORY"):
        setattr(child, name, child.SAME)
    return 0
