"""Plain is what cannot change anything outside itself; a doubt makes a program not plain, never unjudged."""

import sys
from types import CodeType, FrameType, ModuleType

import pytest

from verifier.language import policy
from verifier.language.screen import Screen, may_call

policy_modules = policy.WIDE_IMPORTS


@pytest.fixture(scope="module")
def screen() -> Screen:
    for name in policy_modules:  # not policy.import_modules: this process keeps its codecs and hashlib
        __import__(name)
    return Screen(policy_modules)


PLAIN = """
def g(n=3):
    return [i * i for i in range(n) if i % 2]
---
import math
from itertools import permutations

def g():
    return math.gcd(4, 6) + len(list(permutations('ab')))
---
def g(s='ab'):
    return s.index('a') + s.count('b') + abs(-1)
---
import re

def g():
    return re.compile('a+').findall('aa')
---
def g():
    try:
        return 1 / 0
    except ZeroDivisionError as e:
        return len(str(e))
---
from functools import lru_cache

@lru_cache(maxsize=None)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)

def g():
    return fib(30)
---
from collections import Counter, defaultdict

def g():
    d = defaultdict(list)
    d[1].append(2)
    return sorted(Counter('aab').items())
---
import random

def g():
    return random.choice([1, 2])
---
def g():
    return sum(f(x) for x in range(3)) + max(map(int, '123'))
---
def g(n=5):
    def h(k):
        nonlocal n
        n = k
        return n
    return h(3)
---
def g():
    return '{} {:>4} {0!r:{1}} {{x}} {name}'.format(1, 2, name=3)
---
def g():
    d = {}
    return d.no_such_key(3) if hasattribute(d) else d.no_such_items()
---
def register(test):
    return test

def g():
    __name__ = 3
    return register([].__len__() + iter([1]).__next__())
---
def g():
    def h(n):
        yield n
        yield from (x for x in range(n))
    return list(h(3))
---
def g():
    try:
        return bytearray(10)
    except:
        return 3
---
if __name__ == '__main__':
    print(g())

def g():
    return open(input())
---
def g():
    total = 0
    while True:
        total += 1
        if total > 3:
            return '%d {} '.format(total) + f'{total:>4}'
"""


@pytest.mark.parametrize("source", PLAIN.split("---\n"))
def test_plain(screen, source):
    assert screen.why_not_plain(compile(source, "x", "exec")) is None


@pytest.mark.parametrize(
    "body",
    [
        "f.__code__ = g.__code__",
        "return ().__class__",
        "x = object()\n    x.a = 1",
        "import math\n    math.gcd = 1",
        "import math\n    del math.gcd",
        "return getattr(f, 'x')",
        "return setattr",
        "return eval('1')",
        "return compile('1', 'x', 'eval')",
        "return exec",
        "return globals()",
        "return vars()",
        "return type('X', (), {})",
        "class A:\n        pass",
        "import sys",
        "import os",
        "import operator\n    return operator.attrgetter('a')",
        "from operator import methodcaller",
        "from functools import update_wrapper",
        "from functools import wraps",
        "import functools\n    return functools.total_ordering",
        "import statistics\n    return statistics.sys",
        "import re\n    return re.enum",
        "import copy\n    copy.dispatch_table[int] = 1",
        "import hashlib\n    hashlib.algorithms_available.add(1)",
        "import decimal\n    decimal.getcontext().prec = 3",
        "from decimal import getcontext",
        "from typing import get_type_hints",
        "import string\n    return string.Formatter",
        "import collections.abc",
        "return (x for x in ()).gi_frame",
        "raise ValueError().with_traceback(None)",
        "with x:\n        pass",
        "return __builtins__",
        "return __import__('math')",
        "return '{}'.format_map({})",
        "return lambda: (lambda: __spec__)",
        "return [[(lambda: eval('x'))() for _ in ()] for _ in ()]",
        # what texts lead to
        "return '{0.real}'.format(1)",
        "return '{:{0[a]}}'.format(1)",
        "return '{0!r:{0.real}}'.format(1)",
        "s = '{0}'\n    return s.format(1)",
        "return ('{0.real}' if f else '{0}').format(1)",
        "return (f() if f else '{0}').format(1)",
        "return str.format('{0}', 1)",
        "return list(map(str.format, 'ab'))",
        "return hasattr(f, 'x')",
        # registries, caches, frames
        "Mapping.register(str)",
        "return typing.Mapping.register",
        "return List.__origin__",
        "from functools import singledispatch",
        "return f.__closure__",
        "e = ValueError()\n    return e.__traceback__",
        "return (x for x in ()).gi_yieldfrom",
        "import random\n    return random.setstate",
        "import random\n    return random._os",
        "import time\n    return time.strftime",
        "math.__init__('x')",
        # generators that do something when they are collected
        "def h():\n        try:\n            yield 1\n        finally:\n            f.append(1)\n    return h",
        # letters that are normalised
        "return ｅval('1')",
        "return f.ｍro",
        "return f.__ｃode__",
    ],
)
def test_not_plain(screen, body):
    code = compile(f"def g():\n    {body}", "x", "exec")
    assert screen.why_not_plain(code) is not None


@pytest.mark.parametrize(
    "source", ["from math import *", "async def g():\n    return 1", "async def g():\n    yield 1"]
)
def test_not_plain_at_module_level(screen, source):
    assert screen.why_not_plain(compile(source, "x", "exec")) is not None


def test_many_names_do_not_hide_an_import(screen):
    """Past 256 names an instruction's argument is spread over two: the screen has to put it together."""
    names = "\n".join(f"    a{i} + b{i}" for i in range(200))
    for module in ("os", "math"):
        code = compile(f"def g():\n{names}\n    import {module}", "x", "exec")
        assert (screen.why_not_plain(code) is None) == (module == "math")


def test_may_call():
    code = compile("def g():\n    return [f(x) for x in range(3)]", "x", "exec")
    assert may_call(code, "f")
    assert not may_call(code, "h")


def test_no_plain_name_leads_to_something_that_can_be_changed(screen):
    """Whatever plain names lead to, one after another, from builtins and modules: nothing there keeps what it is
    told."""
    found = {
        f"builtins.{name}": value
        for name, value in policy.make_builtins(
            policy.WIDE_IMPORTS, without=policy.REFLECTIVE_BUILTINS
        ).items()
        if not name.startswith("__")
    }
    found |= dict(policy.TYPING_NAMES)
    for module in screen._modules:
        stand_in = policy.STAND_INS.get(module)
        found[module] = stand_in() if stand_in else sys.modules[module]
    seen: set[int] = set()
    while found:
        path, value = found.popitem()
        if id(value) in seen or path.count(".") > 5:
            continue
        seen.add(id(value))
        if isinstance(value, ModuleType):
            assert value.__name__ in screen._modules, path
        assert not isinstance(value, list | dict | set | bytearray | FrameType | CodeType), path
        for name in dir(value):
            if name not in screen._suspect or name in ("compile", "format"):
                found[f"{path}.{name}"] = getattr(value, name, None)
    assert len(seen) > 1000


def test_names_that_lead_out_are_known(screen):
    """A name that nothing has as an attribute is plain, so all names that are attributes must be known."""
    names = "f_back f_locals tb_frame gi_frame cr_frame ag_frame co_consts co_firstlineno mro register fget __class__"
    names += " __self__ __globals__ __code__ __closure__ __dict__ __traceback__ __context__ __init__ __subclasses__"
    names += (
        " __builtins__ __import__ __func__ __wrapped__ __origin__ __args__ __slotnames__ __getattribute__"
    )
    assert [name for name in names.split() if name not in screen._suspect] == []
