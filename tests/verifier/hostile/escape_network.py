# Opens a socket.
# expect: error:ImportError error:ModuleNotFoundError error:KeyError error:PermissionError error:AttributeError
import statistics


def g():
    frozen = statistics.sys.modules["_frozen_importlib"]
    socket = frozen._gcd_import("_socket").socket()
    socket.connect(("127.0.0.1", 80))
    return 1
