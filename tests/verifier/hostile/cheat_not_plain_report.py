# Alone, says in its report that it is not plain, which is no outcome, and ends before its own is written.
# expect: killed
import statistics

m = statistics.sys.modules


def g():
    area = [t for t in m["gc"].get_objects() if type(t) is m["verifier.worker.area"].Area][0]
    area.append(0, m["verifier.worker.area"].pack_report("not_plain", "", 0.0, 0))
    m["posix"]._exit(0)
