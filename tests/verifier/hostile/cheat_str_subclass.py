# A text that contains everything.
# expect: bad_answer
# puzzle: def f(s: str):
# puzzle:     return s.count("o") == 1000
class Everything(str):
    def __contains__(self, other):
        return True

    def count(self, other):
        return 1000


def g():
    return Everything()
