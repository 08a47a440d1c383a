# Reaches globals through a suspended generator.
# expect: wrong bad_answer killed
def numbers():
    yield 1


def g():
    frame = numbers().gi_frame
    frame.f_globals["f"] = lambda x: True
    return 1
