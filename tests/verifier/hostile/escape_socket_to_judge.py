# Looks for the channel over which its process is told what to run.
# expect: wrong error:AttributeError error:KeyError error:OSError error:PermissionError
import statistics

modules = statistics.sys.modules


def g():
    for thing in modules["gc"].get_objects():
        if type(thing).__name__ == "socket":
            thing.send(b"accepted")
    return 1
