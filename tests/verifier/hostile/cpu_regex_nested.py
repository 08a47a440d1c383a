# Another backtracking pattern, with a look-ahead and a back reference.
# expect: cpu_limit
import re


def g():
    return bool(re.match(r"(?=(a+)+$)(a*)*\1b", "a" * 60))
