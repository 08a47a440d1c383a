# Makes a module anew, under another name.
# expect: wrong
import math


def g():
    math.__init__("physics")
    return len(math.__name__)
