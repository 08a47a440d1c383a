# Reports in the area itself that it is the same as another item.
# expect: wrong killed error:AttributeError error:KeyError error:ValueError
import statistics

modules = statistics.sys.modules


def g():
    area = modules["verifier.worker.area"]
    for thing in modules["gc"].get_objects():
        if type(thing) is area.Area:
            for item in range(64):
                thing.append(item, area.pack_report("same", str(item ^ 1), 0.0, 0))
    return 1
