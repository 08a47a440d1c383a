# A list whose items are no integers but say which they stand for.
# expect: bad_answer
# puzzle: def f(x: List[int]):
# puzzle:     return sum(x) == 27
class Number:
    def __index__(self):
        return 7


def g():
    return [1] * 20 + [Number()]
