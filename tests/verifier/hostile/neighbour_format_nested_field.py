# The field that looks inside stands in another field's specification.
# expect: error:ValueError error:TypeError wrong
def g():
    return len("{:{0.__code__.co_firstlineno}}".format(g))
