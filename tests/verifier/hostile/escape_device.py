# Opens an accelerator.
# expect: error:PermissionError error:FileNotFoundError error:OSError
import random

os = random._os


def g():
    for name in ("/dev/nvidia0", "/dev/accel0", "/dev/vfio/0", "/dev/zero"):
        handle = os.open(name, os.O_RDWR)
    return handle
