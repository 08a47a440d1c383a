# Reports that it used no number of CPU seconds.
# expect: wrong killed error:AttributeError
import statistics

modules = statistics.sys.modules


def g():
    modules["verifier.worker.child"].time.process_time = lambda: float("nan")
    return 1
