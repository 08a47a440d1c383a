# Disarms timers and alarms before it loops.
# expect: cpu_limit error:PermissionError error:OSError
import statistics

signals = statistics.sys.modules["_signal"]


def g():
    for call in (lambda: signals.setitimer(signals.ITIMER_PROF, 0), lambda: signals.alarm(0)):
        try:
            call()
        except OSError:
            continue
    while True:
        pass
