# Defines no g.
# expect: error:NameError
def h():
    return 1
