# Consumes an endless iterator without one step of bytecode.
# expect: cpu_limit
import itertools
from collections import deque


def g():
    deque(itertools.count(), maxlen=0)
    return 1
