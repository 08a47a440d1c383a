# Has the code of an honest neighbour and other defaults: no twin.
# expect: wrong
# puzzle: def f(x: List[int], n=4):
# puzzle:     return x == [n] * n
def g(n=5):
    return [n] * n
