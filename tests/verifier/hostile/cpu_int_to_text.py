# Converts an integer of ten million digits to decimal, which takes quadratic time.
# expect: cpu_limit
def g():
    return len(str(7 ** (12 * 10**6)))
