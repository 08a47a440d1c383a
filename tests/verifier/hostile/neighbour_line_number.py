# The same program for whoever looks at the syntax tree, but it asks where it stands in its text.
# expect: wrong
#
def g():
    return int("{0.__code__.co_firstlineno}".format(g))
