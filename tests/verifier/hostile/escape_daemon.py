# Leaves a daemon behind by the classic double fork.
# expect: error:PermissionError error:BlockingIOError error:OSError wrong killed
import random

os = random._os


def g():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                pass
        os._exit(0)
    os.wait()
    return 1
