# Puts a finder before all others, for modules imported later.
# expect: wrong
# puzzle: def f(x: int):
# puzzle:     import math
# puzzle:     return math.pi == x
import statistics


class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name else 1


def g():
    statistics.sys.meta_path.insert(0, Finder)
    statistics.sys.path_hooks.insert(0, lambda path: Finder)
    return 1
