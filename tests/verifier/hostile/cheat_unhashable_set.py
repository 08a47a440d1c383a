# A set of what cannot be in a set, by way of an object that hashes once.
# expect: bad_answer error:TypeError
# puzzle: def f(x: Set[int]):
# puzzle:     return True
class Once:
    hashed = False

    def __hash__(self):
        if Once.hashed:
            raise TypeError
        Once.hashed = True
        return 1


def g():
    return {Once()}
