# Asks for an address, which no two processes share: there is no `id`.
# expect: error:NameError
# puzzle: def f(x: List[int]):
# puzzle:     return True
def g():
    return [id(n) for n in [1, 2, 3]]
