# Waits for a lock that it holds itself.
# expect: wall_limit error:RuntimeError error:AttributeError error:KeyError cpu_limit
import statistics


def g():
    lock = statistics.sys.modules["_thread"].allocate_lock()
    lock.acquire()
    lock.acquire()
    return 1
