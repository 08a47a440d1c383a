# Plants a pattern of its own in the cache of `re`.
# expect: wrong error:AttributeError
# puzzle: def f(x: str):
# puzzle:     import re
# puzzle:     return bool(re.match('impossible', x))
import re


class Yes:
    def __getattr__(self, name):
        return lambda *arguments: True


def g():
    re._cache[str, "impossible", 0] = Yes()
    return "anything"
