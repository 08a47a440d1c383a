# An object that says its class is int.
# expect: bad_answer
class Fake:
    __class__ = int

    def __eq__(self, other):
        return True


def g():
    return Fake()
