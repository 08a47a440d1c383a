# Opens a descriptor again by its name in /proc.
# expect: error:PermissionError error:FileNotFoundError error:OSError error:ProcessLookupError
import random

os = random._os



def g():
    return os.open("/proc/self/fd/0", os.O_RDWR) + len(os.listdir("/proc/self/fd"))
