# Finds the memory for reports and writes "accepted" into it.
# expect: wrong killed bad_answer error:IndexError
import statistics


def g():
    modules = statistics.sys.modules
    area_class = modules["verifier.worker.area"].Area
    encode = modules["verifier.language.literal"].encode
    area = [item for item in modules["gc"].get_objects() if type(item) is area_class][0]
    for item in range(300):
        area.append(item, encode(("accepted", "", 0.0, 0)))
        area.append(item, encode(("accepted", "", 0.0, 0, "1")))
    random_exit = modules["posix"]._exit
    random_exit(0)
