# Swallows MemoryError and asks again, for ever.
# expect: cpu_limit memory_limit
def g():
    kept = []
    while True:
        try:
            kept.append(bytearray(10**8))
        except MemoryError:
            continue
