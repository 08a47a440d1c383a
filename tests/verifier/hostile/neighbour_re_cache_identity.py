# Whether a pattern is compiled anew tells how many others were.
# expect: wrong
import re


def g():
    first = re.compile("x")
    for i in range(600):
        re.compile("y" * i)
    return int(re.compile("x") is first)
