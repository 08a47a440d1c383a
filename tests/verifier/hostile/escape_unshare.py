# Makes a user namespace in which it is root.
# expect: error:PermissionError error:OSError error:KeyError
import statistics


def g():
    linux = statistics.sys.modules["verifier.sandbox.linux"]
    return linux.call("unshare", 0x10000000) + 1
