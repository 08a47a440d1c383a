# A million tuples of one, none of which is large.
# expect: output_limit wrong_type cpu_limit
# puzzle: def f(x: List[Tuple[int]]):
# puzzle:     return False
def g():
    return [(i,) for i in range(3_000_000)]
