# Leaves a file behind.
# expect: error:FileNotFoundError error:PermissionError error:OSError
import random

os = random._os


def g():
    handle = os.open("/tmp/hostile", os.O_CREAT | os.O_WRONLY)
    return os.write(handle, b"here I was")
