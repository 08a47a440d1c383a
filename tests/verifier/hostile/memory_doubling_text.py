# Doubles a text until memory is full.
# expect: memory_limit
def g():
    text = "ab"
    while True:
        text += text
