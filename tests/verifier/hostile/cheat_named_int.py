# A class that is named int.
# expect: bad_answer
def g():
    return type("int", (), {"__eq__": lambda self, other: True})()
