# Watches the machine's counters.
# expect: error:PermissionError error:OSError error:KeyError
import statistics


def g():
    linux = statistics.sys.modules["verifier.sandbox.linux"]
    return linux.syscall(298, b"\1" + b"\0" * 127, 0, -1, -1, 0)
