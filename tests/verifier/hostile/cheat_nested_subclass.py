# The liar hides inside a plain list.
# expect: bad_answer
# puzzle: def f(x: List[int]):
# puzzle:     return x == [4, 5, 6]
class Any(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


def g():
    return [1, 2, Any(3)]
