# Writes a record that is longer than the memory it stands in.
# expect: wrong killed error:AttributeError error:error error:TypeError error:ValueError
import statistics

modules = statistics.sys.modules


def g():
    area = modules["verifier.worker.area"]
    for thing in modules["gc"].get_objects():
        if type(thing) is area.Area:
            area._HEADER.pack_into(thing._map, 0, 1 << 62, -1, 0.0)
            area._RECORD.pack_into(thing._map, area._HEADER.size, 0, 0xFFFFFFFF)
    return 1
