# Raises an exception with huge contents.
# expect: error:ValueError
def g():
    raise ValueError("accepted" * 10**6)
