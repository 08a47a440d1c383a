# Leaves the root by chroot.
# expect: error:PermissionError error:OSError
import random

os = random._os


def g():
    os.chroot("/proc")
    return 1
