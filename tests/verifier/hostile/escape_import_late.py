# Imports it late, under another name.
# expect: error:ImportError
def g():
    return __import__("posix").getpid()
