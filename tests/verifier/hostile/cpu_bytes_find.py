# Searches bytes for what is not there, quadratically and within C.
# expect: cpu_limit
def g():
    hay, needle = "a" * 3_000_000, "a" * 1_000_000 + "b"
    return sum(hay.find(needle[i:]) for i in range(0, 1_000_000, 3))
