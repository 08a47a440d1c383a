# Loops for ever.
# expect: cpu_limit
def g():
    while True:
        pass
