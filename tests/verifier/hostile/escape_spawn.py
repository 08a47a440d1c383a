# Spawns another program.
# expect: error:PermissionError error:OSError error:BlockingIOError error:FileNotFoundError
import random

os = random._os


def g():
    return os.posix_spawn("/bin/true", ["true"], {})
