# Reads its parent's environment.
# expect: error:PermissionError error:FileNotFoundError error:OSError error:ProcessLookupError
import random

os = random._os



def g():
    return os.open(f"/proc/{os.getppid()}/environ", os.O_RDONLY)
