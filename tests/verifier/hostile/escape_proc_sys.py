# Asks the kernel for its settings.
# expect: error:PermissionError error:FileNotFoundError error:OSError error:ProcessLookupError
import random

os = random._os



def g():
    return os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY)
