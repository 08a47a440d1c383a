# Replaces len in the true builtins module.
# expect: wrong killed
# puzzle: def f(x: List[int]):
# puzzle:     return len(x) == 0 and x != []
import statistics


def g():
    statistics.sys.modules["builtins"].len = lambda value: 0
    return [1, 2, 3]
