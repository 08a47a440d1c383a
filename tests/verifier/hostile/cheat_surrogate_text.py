# A text with half a character, which no encoding takes.
# expect: wrong
# puzzle: def f(x: str):
# puzzle:     return x.encode('utf-8', 'replace') == 'never'
def g():
    return chr(0xD800) + "x"
