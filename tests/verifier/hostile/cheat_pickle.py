# An object that would run code when unpickled.
# expect: bad_answer
class Bomb:
    def __reduce__(self):
        return eval, ("1/0",)


def g():
    return Bomb()
