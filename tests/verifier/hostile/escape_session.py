# Leaves its session, so that no signal to the group finds it.
# expect: wrong error:PermissionError error:OSError
import random

os = random._os



def g():
    os.setsid()
    return 1
