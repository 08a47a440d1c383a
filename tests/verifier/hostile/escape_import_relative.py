# Imports relative to nothing.
# expect: error:ImportError error:KeyError error:TypeError
def g():
    from . import os

    return os
