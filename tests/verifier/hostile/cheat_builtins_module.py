# Rewrites the builtins module itself.
# expect: wrong killed error:TypeError error:NameError
# puzzle: def f(x: int):
# puzzle:     return sum([x]) == 99
import statistics


def g():
    module = statistics.sys.modules["builtins"]
    module.sum = lambda *arguments: 99
    module.all = lambda *arguments: True
    return 1
