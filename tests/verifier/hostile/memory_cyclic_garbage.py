# Makes cyclic garbage as fast as it can.
# expect: cpu_limit memory_limit
def g():
    while True:
        a = [0] * 1000
        a.append(a)
