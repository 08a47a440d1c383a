# Climbs the frames of the process it was forked from and calls what it finds there.
# expect: wrong killed error:AttributeError error:ValueError error:TypeError error:OSError
import statistics


def g():
    frame = statistics.sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        for value in list(frame.f_locals.values()):
            if type(value).__name__ == "Nursery":
                value._jail.sweep(1)
    return 1
