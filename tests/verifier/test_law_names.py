"""Everything that the screen lets plain programs name is called, in many ways; neighbours must see nothing of it.

The lists of screen.py are believed to lead to nothing that another program sees. Here programs call each name on them,
of every module and of values of every kind, and those of law_programs.txt, beside them, say what they find.
"""

import importlib
import random

import pytest

from tests.verifier.test_law_kinds import ANY_TEXT, PROGRAMS, told
from verifier import Limits, Pool
from verifier.language import policy, screen

ARGUMENTS = (
    *("()", "(3,)", "('a',)", "(b'a',)", "(1.5,)", "(-1,)", "(None,)", "({1: 2},)", "([3, 1],)"),
    *(
        "(2, 3)",
        "('a', 'b')",
        "('a', 1)",
        "(True, 2)",
        "(int, 'x')",
        "(len, [3, 1])",
        "([1, 2], 1)",
        "([3], [4])",
    ),
    *("(1, 2, 3)", "('(a)', 'b', 'aab')"),
)
ENDLESS = ("count", "cycle", "repeat", "sleep")
VALUES = (
    *(
        "(3)",
        "1.5",
        "1j",
        "True",
        "'ab'",
        "b'ab'",
        "bytearray(b'ab')",
        "[3, 1]",
        "(3, 1)",
        "{1: 2}",
        "{1, 2}",
    ),
    *(
        "frozenset([1])",
        "range(3)",
        "slice(1)",
        "iter([1])",
        "zip([1])",
        "object()",
        "ValueError(1)",
        "len",
        "print",
    ),
    *(
        "int",
        "str",
        "dict",
        "(lambda x: x)",
        "(x for x in [1])",
        "math",
        "random",
        "typing",
        "random.shuffle",
    ),
    *("collections.Counter('ab')", "collections.OrderedDict(a=1)", "collections.defaultdict(list)"),
    *("collections.deque([1])", "collections.ChainMap({})", "collections.Counter", "decimal.Decimal(2)"),
    *("decimal.Decimal", "fractions.Fraction(1, 3)", "random.Random(1)", "random.Random", "re.compile('a')"),
    *("re.match('a', 'a')", "re.I", "functools.partial(len)", "functools.cache(len)", "hashlib.md5(b'a')"),
    *("Any", "List", "List[int]", "Optional[int]", "Sequence"),
)
IMPORTS = "import collections, decimal, fractions, functools, hashlib, math, random, re, typing"


def calls(head: str, value: str, names: list[str]) -> str:
    lines = [head, "", "def g():"]
    for name in names:
        for arguments in ARGUMENTS[1:3] if name in ENDLESS else ARGUMENTS:
            lines += [
                "    try:",
                f"        {value}.{name}{arguments}",
                "    except Exception:",
                "        pass",
            ]
    return "\n".join([*lines, "    return 'done'"])


def programs(plain: frozenset[str]) -> list[str]:
    made = []
    for module in sorted(screen._PLAIN_MODULES.keys() & policy.WIDE_IMPORTS):
        stand_in = policy.STAND_INS.get(module)
        found = dir(stand_in() if stand_in else importlib.import_module(module))
        made.append(calls(f"import {module}", module, [name for name in found if name in plain]))
    space: dict = {**policy.TYPING_NAMES}
    exec(IMPORTS, space)
    for value in VALUES:
        names = [name for name in dir(eval(value, space)) if name in plain - {"format"}]
        made.append(calls(IMPORTS, value, names))
    return made


@pytest.mark.slow
def test_no_name_that_is_plain_leads_to_a_neighbour():
    for name in policy.WIDE_IMPORTS:  # not policy.import_modules: this process keeps its codecs and hashlib
        importlib.import_module(name)
    screened = screen.Screen(policy.WIDE_IMPORTS)
    callers = programs(screened._plain)
    assert {screened.why_not_plain(compile(text, "", "exec")) for text in callers} == {None}
    victims = list(PROGRAMS.values())
    limits = Limits(cpu_s=20.0, memory_mb=1024)  # no caller may need a process of its own for lack of time

    def judge(texts: list[str], **options: int) -> list[tuple]:
        with Pool(1, limits, reuse=0, **options) as pool:
            return [told(v) for v in pool.judge({"puzzle": ANY_TEXT, "solution": text} for text in texts)]

    alone = dict(zip(victims, judge(victims, batch_size=1), strict=True))
    rng = random.Random(3)
    between = [text for victim in victims for text in (rng.choice(callers), victim)]
    for order in (callers + victims, between):
        found = dict(zip(order, judge(order), strict=True))
        assert {found[text][0] for text in callers if text in found} == {"accepted"}
        assert {text: found[text] for text in victims if found[text] != alone[text]} == {}
