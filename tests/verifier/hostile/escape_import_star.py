# Imports everything a package shows.
# expect: error:ImportError
from os import *


def g():
    return getpid()
