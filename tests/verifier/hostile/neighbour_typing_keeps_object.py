# Leaves an object in a cache, that would run when a later program drives it out.
# expect: wrong
def g():
    def h():
        try:
            yield 1
        finally:
            print("x" * 100)

    it = h()
    next(it)
    Union[int, it]
    return 3
