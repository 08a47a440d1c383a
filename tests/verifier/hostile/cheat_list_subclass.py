# A list that lies about its length.
# expect: bad_answer
# puzzle: def f(x: List[int]):
# puzzle:     return len(x) == 10 and list(x) == list(range(10))
class Liar(list):
    def __len__(self):
        return 10

    def __iter__(self):
        return iter(range(10))


def g():
    return Liar()
