# Raises an exception of a class whose name has ten megabytes.
# expect: error:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
def g():
    raise type("A" * 10_000_000, (Exception,), {})
