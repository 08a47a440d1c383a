# Raises an exception whose text is no text.
# expect: error:Odd
class Odd(Exception):
    def __str__(self):
        return 5


def g():
    raise Odd
