# Walks the frames above it and rewrites what it finds there.
# expect: wrong error:TypeError bad_answer killed
import statistics


def g():
    frame = statistics.sys._getframe()
    while frame is not None:
        for name in list(frame.f_locals):
            if name in ("status", "outcome", "detail", "answer", "accepted"):
                frame.f_locals[name] = "accepted"
        frame = frame.f_back
    return 1
