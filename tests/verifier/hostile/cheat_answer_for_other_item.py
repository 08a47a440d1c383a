# Leaves an answer and a report under its neighbour's number.
# expect: wrong killed error:AttributeError error:ValueError
import statistics

modules = statistics.sys.modules


def g():
    area, literal = modules["verifier.worker.area"], modules["verifier.language.literal"]
    for thing in modules["gc"].get_objects():
        if type(thing) is area.Area:
            for item in range(200):
                thing.append(~item, literal.encode([4] * 4))
                thing.append(item, area.pack_report("answer", "", 0.0, 0))
    return 1
