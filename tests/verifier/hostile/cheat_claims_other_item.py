# Says in the header of its memory that it is at another item, then loops.
# expect: cpu_limit error:AttributeError
import statistics

modules = statistics.sys.modules


def g():
    area = modules["verifier.worker.area"]
    for thing in modules["gc"].get_objects():
        if type(thing) is area.Area:
            thing.begin(123456, 1e12)
    while True:
        pass
