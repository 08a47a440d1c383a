# Raises KeyboardInterrupt.
# expect: error:KeyboardInterrupt
def g():
    raise KeyboardInterrupt
