# Lets a profile function watch its own judge's returns.
# expect: wrong killed bad_answer
import statistics


def watch(frame, event, argument):
    if event == "return":
        for name in list(frame.f_locals):
            frame.f_locals[name] = True


def g():
    statistics.sys.setprofile(watch)
    return 1
