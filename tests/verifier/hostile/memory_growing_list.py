# Appends until memory is full.
# expect: memory_limit cpu_limit
def g():
    kept = []
    while True:
        kept.append("x" * 10**6 + str(len(kept)))
