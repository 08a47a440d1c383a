# Duplicates every descriptor there could be, in the hope of one that leads out.
# expect: error:PermissionError error:FileNotFoundError error:OSError error:ProcessLookupError wrong error:AttributeError
# puzzle: def f(x: int):
# puzzle:     return x > 0
import random

os = random._os



def g():
    found = 0
    for handle in range(3, 4096):
        try:
            os.read(os.dup(handle), 1)
            found += 1
        except OSError:
            continue
    if found:
        return found
    raise PermissionError
