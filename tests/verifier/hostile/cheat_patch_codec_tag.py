# Makes the codec write an integer under the tag of another type.
# expect: wrong wrong_type killed bad_answer
# puzzle: def f(x: List[int]):
# puzzle:     return x == [1]
import statistics


def g():
    literal = statistics.sys.modules["verifier.language.literal"]
    literal.encode_parts = lambda *arguments: [b"I" + b"\xff" * 64]
    return 1
