# An integer equal to everything.
# expect: bad_answer
class Any(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


def g():
    return Any(1)
