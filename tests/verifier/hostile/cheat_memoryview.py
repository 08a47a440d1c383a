# A view of bytes.
# expect: bad_answer
# puzzle: def f(x: bytes):
# puzzle:     return True
def g():
    return memoryview(b"abc")
