# A tuple that is one item short.
# expect: wrong_type
# puzzle: def f(x: Tuple[int, str, bool]):
# puzzle:     return True
def g():
    return (1, "a")
