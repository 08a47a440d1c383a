# The liar is a dictionary's key.
# expect: bad_answer
# puzzle: def f(d: Dict[str, int]):
# puzzle:     return d.get("wanted") == 1
class Key(str):
    def __eq__(self, other):
        return True

    def __hash__(self):
        return hash("wanted")


def g():
    return {Key("x"): 1}
