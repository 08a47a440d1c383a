# A list of long texts, each kept.
# expect: memory_limit cpu_limit
def g():
    kept = []
    while True:
        kept.append(str(len(kept)) * 1_000_000)
