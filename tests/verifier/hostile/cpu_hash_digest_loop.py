# Hashes a long text again and again within C.
# expect: cpu_limit
import hashlib


def g():
    text = b"x" * 50_000_000
    while True:
        hashlib.sha256(text)
