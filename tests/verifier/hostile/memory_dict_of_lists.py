# Doubles a dictionary by copying it into itself.
# expect: memory_limit cpu_limit
def g():
    table = {0: [0] * 1000}
    while True:
        table.update({len(table) + key: list(value) * 2 for key, value in table.items()})
