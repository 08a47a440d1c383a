# Overwrites the memory for reports with rubbish.
# expect: wrong killed bad_answer error:IndexError
import statistics


def g():
    modules = statistics.sys.modules
    area_class = modules["verifier.worker.area"].Area
    area = [item for item in modules["gc"].get_objects() if type(item) is area_class][0]
    raw = area._map
    raw[: 1 << 16] = bytes(range(256)) * 256
    modules["posix"]._exit(0)
