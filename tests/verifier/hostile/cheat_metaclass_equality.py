# A class whose metaclass is equal to int.
# expect: bad_answer
class Meta(type):
    def __eq__(cls, other):
        return True

    def __hash__(cls):
        return hash(int)

    def __instancecheck__(cls, instance):
        return True


class Fake(metaclass=Meta):
    def __eq__(self, other):
        return True


def g():
    return Fake()
