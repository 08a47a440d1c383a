# Leaves with status 0 before anybody judges.
# expect: killed
import random

os = random._os


def g():
    os._exit(0)
