# Waits for input that never comes.
# expect: error:NameError
def g():
    return int(input())
