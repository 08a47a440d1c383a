# All permutations of twelve things, at once.
# expect: memory_limit cpu_limit
import itertools


def g():
    return list(itertools.permutations(range(12)))
