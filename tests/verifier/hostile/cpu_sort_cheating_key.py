# Sorts with a comparison that never comes to an end.
# expect: cpu_limit
from functools import cmp_to_key


def g():
    def compare(a, b):
        while True:
            a += 1

    return sorted([1, 2], key=cmp_to_key(compare))
