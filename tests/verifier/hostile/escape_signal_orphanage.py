# Signals every process number there is, one after another.
# expect: wrong error:PermissionError error:OSError error:ProcessLookupError killed
import random

os = random._os



def g():
    hit = 0
    for process in range(2, 4000):
        if process != os.getpid():
            try:
                os.kill(process, 0)
                hit += 1
            except OSError:
                continue
    return 0
