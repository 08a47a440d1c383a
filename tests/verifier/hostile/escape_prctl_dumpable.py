# Makes itself traceable again, for a helper that is not there.
# expect: wrong error:PermissionError error:OSError error:KeyError
import statistics


def g():
    linux = statistics.sys.modules["verifier.sandbox.linux"]
    linux.prctl(4, 1)
    return 1
