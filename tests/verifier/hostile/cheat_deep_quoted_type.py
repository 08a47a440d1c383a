# The puzzle's type is quoted, nested and in the other spelling; the answer is a subclass.
# expect: bad_answer
# puzzle: def f(x: 'dict[str, list[tuple[int, list[int]]]]'):
# puzzle:     return True
class Row(list):
    pass


def g():
    return {"a": [(1, Row())]}
