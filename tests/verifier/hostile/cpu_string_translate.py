# Pads, translates and compares long texts.
# expect: cpu_limit memory_limit
def g():
    text = "ab" * 10_000_000
    while text.replace("a", "ba").replace("bb", "a") != text[::-1]:
        text = text.swapcase()
    return text
