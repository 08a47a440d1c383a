# Exponential backtracking inside the regex engine.
# expect: cpu_limit
import re


def g():
    return 1 if re.match(r"(a+)+$", "a" * 60 + "b") else 0
