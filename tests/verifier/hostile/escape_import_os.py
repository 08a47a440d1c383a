# Imports what may not be imported.
# expect: error:ImportError
import os


def g():
    return os.getpid()
