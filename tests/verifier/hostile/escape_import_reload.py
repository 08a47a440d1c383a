# Imports through the import system it finds among the loaded modules.
# expect: error:ModuleNotFoundError error:ImportError error:KeyError error:FileNotFoundError error:PermissionError error:OSError error:AttributeError
import statistics


def g():
    bootstrap = statistics.sys.modules["_frozen_importlib"]
    return bootstrap._gcd_import("subprocess").call(["true"])
