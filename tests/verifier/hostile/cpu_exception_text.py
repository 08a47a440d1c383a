# Raises an exception whose text never comes.
# expect: cpu_limit
class Slow(Exception):
    def __str__(self):
        while True:
            pass


def g():
    raise Slow
