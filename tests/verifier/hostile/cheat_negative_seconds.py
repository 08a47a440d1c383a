# Turns the clock of its own process back.
# expect: cpu_limit
import statistics

modules = statistics.sys.modules


def g():
    modules["verifier.worker.child"].time.process_time = lambda: -1e9
    while True:
        pass
