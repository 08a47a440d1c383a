# Searches all objects for the puzzle and its secret.
# expect: wrong
# puzzle: def f(x: int, secret=987654321987):
# puzzle:     return x == secret and secret != 987654321987
import statistics


def g():
    gc = statistics.sys.modules["gc"]
    for item in gc.get_objects():
        if type(item) is tuple and len(item) == 1 and type(item[0]) is int and item[0] > 10**6:
            return item[0]
    return 0
