# Recurses through attribute look-up.
# expect: error:RecursionError killed memory_limit
class A:
    def __getattr__(self, name):
        return getattr(self, name + "x")


def g():
    return A().x
