# Registers something for the end of the process.
# expect: error:ImportError
import atexit


def g():
    atexit.register(print, "accepted")
    return 1
