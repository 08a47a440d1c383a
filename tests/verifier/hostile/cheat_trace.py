# Sets a trace function to change what others return.
# expect: wrong killed error:RuntimeError bad_answer
import statistics


def tracer(frame, event, argument):
    frame.f_globals["ANSWER"] = "accepted"
    return tracer


def g():
    statistics.sys.settrace(tracer)
    statistics.sys.setprofile(tracer)
    return 1
