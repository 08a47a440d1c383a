# Empties the table by which copies are made.
# expect: wrong error:KeyError error:RecursionError error:TypeError error:Error
import copy


def g():
    copy._deepcopy_dispatch.clear()
    return len(copy.deepcopy([1, [2]]))
