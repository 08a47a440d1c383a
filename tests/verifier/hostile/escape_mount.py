# Mounts the file system of processes.
# expect: error:PermissionError error:OSError error:KeyError
import statistics


def g():
    linux = statistics.sys.modules["verifier.sandbox.linux"]
    return linux.call("mount", b"proc", b"/", b"proc", 0, None) + 1
