# Opens its parent's memory for writing.
# expect: error:PermissionError error:FileNotFoundError error:OSError
import random

os = random._os


def g():
    handle = os.open(f"/proc/{os.getppid()}/mem", os.O_RDWR)
    return handle
