# Becomes another program.
# expect: error:PermissionError error:FileNotFoundError error:OSError
import random

os = random._os


def g():
    os.execv("/bin/true", ["true"])
