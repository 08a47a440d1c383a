# Raises in the main thread from a timer of the interpreter's own.
# expect: wrong killed error:RuntimeError error:AttributeError error:ImportError error:KeyError error:PermissionError
import statistics


def g():
    threading = statistics.sys.modules["_thread"]
    threading.start_new_thread(threading.interrupt_main, ())
    return 1
