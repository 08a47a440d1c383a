# Raises an exception with a name that would end the line.
# expect: error:Exception
def g():
    raise type("x\naccepted", (Exception,), {})
