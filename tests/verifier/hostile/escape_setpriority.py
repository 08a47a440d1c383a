# Takes the CPU from everybody else.
# expect: wrong error:PermissionError error:OSError
import random

os = random._os



def g():
    return os.setpriority(os.PRIO_PROCESS, 0, -20) or 1
