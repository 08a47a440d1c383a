# A list that mixes what the union keeps apart.
# expect: wrong_type
# puzzle: def f(x: Union[List[int], List[str]]):
# puzzle:     return len(x) == 2
def g():
    return [1, "a"]
