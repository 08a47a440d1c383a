# Waits for a lock that it holds itself.
# expect: wall_limit error:PermissionError error:KeyError
import statistics


def g():
    lock = statistics.sys.modules["_thread"].allocate_lock()
    lock.acquire()
    lock.acquire()
