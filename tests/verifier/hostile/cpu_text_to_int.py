# Converts ten million digits to an integer.
# expect: cpu_limit
def g():
    return int("7" * 10**7) % 10
