# Raises an exception class of its own, named like an outcome.
# expect: error:accepted
class accepted(BaseException):
    pass


def g():
    raise accepted
