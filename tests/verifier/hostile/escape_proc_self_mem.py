# Opens its own memory, to write where it is read-only.
# expect: error:PermissionError error:FileNotFoundError error:OSError error:ProcessLookupError wrong
import random

os = random._os



def g():
    return os.open("/proc/self/mem", os.O_RDWR)
