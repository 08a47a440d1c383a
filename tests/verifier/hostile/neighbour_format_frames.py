# Reads frames, and with them its neighbours' sources, through the fields of a format.
# expect: error:IndexError error:AttributeError error:KeyError wrong
def g():
    def h():
        yield "{0.gi_frame.f_back.f_back.f_back.f_locals[attempts]}".format(me)

    me = h()
    return int(next(me).split("return 7" + "7")[1])
