# Walks the frames through a traceback.
# expect: wrong killed bad_answer
def g():
    try:
        raise ValueError
    except ValueError as e:
        frame = e.__traceback__.tb_frame
    while frame is not None:
        frame.f_globals["ANSWER"] = "accepted"
        frame = frame.f_back
    return 1
