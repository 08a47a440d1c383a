# Ignores every signal it can before it loops.
# expect: cpu_limit error:PermissionError error:KeyError error:OSError
import statistics

signals = statistics.sys.modules["_signal"]


def g():
    for number in range(1, 65):
        try:
            signals.signal(number, signals.SIG_IGN)
        except (OSError, ValueError):
            continue
    while True:
        pass
