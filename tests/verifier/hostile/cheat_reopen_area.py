# Truncates the shared memory it reports in, so that reading it would crash the reader.
# expect: wrong killed error:PermissionError error:OSError error:AttributeError
import random
import statistics

os = random._os
modules = statistics.sys.modules


def g():
    area = modules["verifier.worker.area"]
    for thing in modules["gc"].get_objects():
        if type(thing) is area.Area:
            os.ftruncate(thing.descriptor, 0)
    return 1
