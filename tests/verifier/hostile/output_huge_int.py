# Answers with an integer of a billion bits.
# expect: output_limit memory_limit
def g():
    return 1 << 10**9
