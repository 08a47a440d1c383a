# Lifts the recursion limit and runs the C stack over.
# expect: killed error:RecursionError memory_limit cpu_limit
import statistics


def g():
    statistics.sys.setrecursionlimit(10**9)

    class Deep:
        def __repr__(self):
            return repr(self)

    return len(repr(Deep()))
