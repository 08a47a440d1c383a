# Imports the module that newer interpreters keep their long arithmetic in, to look around from there.
# expect: error:ImportError
def g():
    import _pylong

    return len(dir(_pylong))
