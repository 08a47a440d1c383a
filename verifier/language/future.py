"""The module `__future__` of programs. The compiler does what such an import says; the module only has to be there."""

import __future__

from types import ModuleType

FEATURES = {name: getattr(__future__, name) for name in __future__.all_feature_names}


def module() -> ModuleType:
    """A fresh one each time: what a program writes into it, no other sees."""
    found = ModuleType("__future__")
    vars(found).update(FEATURES, all_feature_names=tuple(FEATURES))
    return found
