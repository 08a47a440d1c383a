# Finds FileIO among the subclasses of object and reads with it.
# expect: error:FileNotFoundError error:PermissionError error:OSError
def find(cls, name):
    for sub in cls.__subclasses__():
        if sub.__name__ == name:
            return sub
        found = None if sub is type else find(sub, name)
        if found:
            return found


def g():
    return len(find(object, "FileIO")("/proc/self/environ").read())
