# Leaves a child behind that writes wherever it can.
# expect: error:PermissionError error:BlockingIOError error:OSError wrong killed
import random

os = random._os


def g():
    if os.fork() == 0:
        while True:
            for handle in range(64):
                try:
                    os.write(handle, b"accepted")
                except OSError:
                    continue
    return 1
