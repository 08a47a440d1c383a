# Calls its copy of the puzzle until that errs in its favour.
# expect: cpu_limit
def g():
    x = 0
    while not f(x):
        x += 1
    return x
