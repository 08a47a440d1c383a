# A generator whose clean-up loops for ever when the program is over.
# expect: cpu_limit
def spin():
    try:
        yield 1
    finally:
        while True:
            pass


def g():
    global kept
    kept = spin()
    return next(kept)
