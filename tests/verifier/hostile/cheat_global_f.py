# Puts another f into its globals.
# expect: wrong
def g():
    globals()["f"] = lambda x: True
    return 1
