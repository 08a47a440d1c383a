# A million empty lists.
# expect: wrong_type output_limit cpu_limit
def g():
    return [[] for _ in range(10**6)]
