"""The module `__future__` of programs. The compiler obeys such an import; the module only has to exist."""

import __future__

from types import ModuleType

FEATURES = {name: getattr(__future__, name) for name in __future__.all_feature_names}


def module() -> ModuleType:
    """A fresh one each time, so that no program sees what another wrote into it."""
    found = ModuleType("__future__")
    vars(found).update(FEATURES, all_feature_names=tuple(FEATURES))
    return found
