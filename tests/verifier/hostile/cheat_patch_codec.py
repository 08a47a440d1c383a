# Replaces the codec in its own process.
# expect: wrong killed bad_answer error:AttributeError
import statistics


def g():
    literal = statistics.sys.modules["verifier.language.literal"]
    literal.encode_parts = lambda *arguments: [b"accepted"]
    literal.encode = lambda *arguments: b"accepted"
    return 1
