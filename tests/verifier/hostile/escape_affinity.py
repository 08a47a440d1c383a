# Moves itself to CPUs it was not given.
# expect: wrong error:PermissionError error:OSError
import random

os = random._os



def g():
    os.sched_setaffinity(0, range(64))
    return 1
