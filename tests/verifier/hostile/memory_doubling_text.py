# Doubles a text until memory is full.
# expect: memory_limit cpu_limit
def g():
    text = "ab"
    while True:
        text += text
