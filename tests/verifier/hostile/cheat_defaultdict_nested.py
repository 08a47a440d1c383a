# A defaultdict inside a list.
# expect: bad_answer
# puzzle: def f(x: List[Dict[str, int]]):
# puzzle:     return x[0]["nothing"] == 0
from collections import defaultdict


def g():
    return [defaultdict(int)]
