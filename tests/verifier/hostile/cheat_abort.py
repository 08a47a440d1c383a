# Aborts.
# expect: killed
import random

os = random._os


def g():
    os.abort()
