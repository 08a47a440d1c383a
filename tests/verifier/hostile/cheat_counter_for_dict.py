# A Counter where a dictionary is wanted: it has a value for every key.
# expect: bad_answer
# puzzle: def f(d: Dict[str, int]):
# puzzle:     return d["nothing"] == 0
from collections import Counter


def g():
    return Counter()
