# A bytearray, which is no plain value.
# expect: bad_answer
# puzzle: def f(x: bytes):
# puzzle:     return True
def g():
    return bytearray(b"abc")
