# Leaves while its module is being run.
# expect: killed
import random

os = random._os

os._exit(0)


def g():
    return 1
