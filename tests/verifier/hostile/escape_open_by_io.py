# Reads a file of the host through the io module it finds.
# expect: error:FileNotFoundError error:PermissionError error:OSError
import statistics


def g():
    return len(statistics.sys.modules["io"].open("/etc/passwd").read())
