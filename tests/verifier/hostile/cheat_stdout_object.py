# Replaces the object that counts what is printed.
# expect: wrong
import statistics


def g():
    statistics.sys.stdout.limit = 10**30
    print("x" * 10**6)
    return 1
