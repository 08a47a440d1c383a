# Contains a puzzle of its own, with the answer's type changed.
# expect: wrong_type
# puzzle: def f(x: int):
# puzzle:     return True
def f(s: str):
    return True


def g():
    return "text"
