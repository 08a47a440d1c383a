# Values of a dictionary that are of another type than annotated.
# expect: wrong_type
# puzzle: def f(d: Dict[str, int]):
# puzzle:     return len(d) == 1
def g():
    return {"a": "b"}
