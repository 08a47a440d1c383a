# An int subclass whose metaclass has the hash of int and says it equals it.
# expect: wrong wrong_type bad_answer
# puzzle: def f(x: List[int]):
# puzzle:     return False
class Meta(type):
    def __hash__(cls):
        return hash(int)

    def __eq__(cls, other):
        return True


class Number(int, metaclass=Meta):
    pass


def g():
    return [1, Number(2)] * 8
