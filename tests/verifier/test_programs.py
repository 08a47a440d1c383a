"""What programs find when they run: codecs, identifiers, `f` by its name, a clock, the seeded generator."""

import pytest

from verifier import Limits, Pool

SEVEN = "def f(x: int):\n    return x == 7"


@pytest.fixture(scope="module")
def pool():
    with Pool(1, Limits(cpu_s=1.0, memory_mb=512), reuse=0) as pool:
        yield pool


def outcomes(pool: Pool, puzzle: str, *solutions: str) -> list[str]:
    return [verdict.outcome for verdict in pool.judge({"puzzle": puzzle, "solution": s} for s in solutions)]


@pytest.mark.parametrize(
    "name",
    """utf-7 unicode-escape raw_unicode_escape latin-1 iso8859-15 cp437 cp850 cp1251 koi8-r mac-roman punycode utf-16-le
    utf_8_sig UTF8 hp_roman8 tis-620 ISO_8859-7:1987""".split(),
)
def test_codecs_of_the_interpreter(pool, name):
    text = f"'Za1'.encode({name!r}).decode({name!r})"
    puzzle = f"def f(x: str):\n    return x == {text} == 'Za1'"
    assert (
        outcomes(pool, puzzle, "def g():\n    return 'Za1'", f"def g():\n    return {text}")
        == ["accepted"] * 2
    )


@pytest.mark.parametrize(
    "name", ["no-such-codec", "../encodings/cp437", "__init__", "aliases", "hex", "big5"]
)
def test_codecs_that_are_none(pool, name):
    assert outcomes(pool, SEVEN, f"def g():\n    return b'a'.decode({name!r})") == ["error:LookupError"]


@pytest.mark.parametrize(
    "how",
    [
        "eval('f(i)')",
        "globals()['f'](i)",
        'globals()["f"](i)',
        "vars().get('f', f)(i)",
        "eval('\\x66(i)')",
        "eval(chr(102) + '(i)')",
        "h.__globals__['f'](i)",
        "\uff46(i)",  # a letter that Python takes for `f`
        "f (i)",
    ],
)
def test_a_solution_may_search_by_the_puzzle(pool, how):
    solution = f"h = lambda: 0\ndef g():\n    return next(i for i in range(10) if {how})"
    assert outcomes(pool, SEVEN, solution) == ["accepted"]


def test_an_fstring_names_no_puzzle(pool):
    """The puzzle is not pasted, and so cannot be called, where no part of the program could reach it."""
    slow = "def f(x: int, n=sum(range(10**9))):\n    return x == 7"
    verdict = next(pool.judge([{"puzzle": slow, "solution": "def g():\n    return int(f'{7}')  # not f"}]))
    assert (verdict.outcome, verdict.detail) == ("cpu_limit", "in the puzzle")


def test_draws_are_the_same_for_every_program(pool):
    draw = "from statistics import NormalDist\ndef g():\n    return NormalDist(0, 1000).samples(1)[0]"
    spoil = "import {0}\ndef g():\n    return [{1} for i in range(3)]"
    spoilers = [
        spoil.format("random", "random.random()"),
        spoil.format("statistics", "statistics.NormalDist().samples(2)"),
    ]
    solutions = [draw, *spoilers, draw + "\n#", "import \uff52andom\ndef g():\n    return random.random()"]
    puzzle = "def f(x: float):\n    return True"
    answers = [v.answer for v in pool.judge({"puzzle": puzzle, "solution": s} for s in solutions)]
    first = next(
        pool.judge([{"puzzle": puzzle, "solution": "from random import *\ndef g():\n    return random()"}])
    )
    assert answers[0] == answers[3] and answers[4] == first.answer


def test_draws_of_a_puzzle_are_the_same_for_every_answer(pool):
    puzzle = "def f(x: int):\n    from statistics import NormalDist\n    return NormalDist(0, 1e9).samples(1)[0] > 0"
    assert len(set(outcomes(pool, puzzle, *(f"def g():\n    return {i}" for i in range(12))))) == 1


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ("return time.time() < time.time()", "True"),
        ("return time.time() == 10**9 + 0.001", "True"),
        ("t = time.perf_counter()\n    while time.perf_counter() - t < 5: pass\n    return True", "True"),
        ("t = time.monotonic()\n    time.sleep(3600)\n    return 3600 < time.monotonic() - t < 3601", "True"),
        ("return time.process_time_ns() == 10**6", "True"),
    ],
)
def test_the_clock_moves_with_its_readings_alone(pool, body, answer):
    solution = f"import time\ndef g():\n    {body}"
    puzzle = "def f(x: bool):\n    return x"
    assert outcomes(pool, puzzle, solution, solution + "  #") == ["accepted"] * 2  # the second finds it reset


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("sleep(-1)", "ValueError"),
        ("sleep('1')", "TypeError"),
        ("localtime()", "AttributeError"),
        ("sleep(1e300)", "OverflowError"),
    ],
)
def test_the_clock_has_no_more(pool, call, error):
    assert outcomes(pool, SEVEN, f"import time\ndef g():\n    return time.{call}") == [f"error:{error}"]


def test_the_paper_had_no_clock():
    with Pool(1, imports="paper") as pool:
        assert outcomes(pool, SEVEN, "import time\ndef g():\n    return 7") == ["error:ImportError"]
        assert outcomes(pool, SEVEN, "from __future__ import annotations\ndef g():\n    return 7") == [
            "accepted"
        ]


@pytest.mark.parametrize(
    ("head", "wanted"),
    [
        ("from __future__ import annotations", "accepted"),
        ("'''text'''\nfrom __future__ import division, annotations", "accepted"),
        ("import math\nfrom __future__ import annotations", "syntax"),
        ("from __future__ import braces", "syntax"),
        ("import __future__", "accepted"),
    ],
)
def test_future_imports(pool, head, wanted):
    assert outcomes(pool, SEVEN, f"{head}\ndef g(a: undefined = 1) -> also.undefined:\n    return 7") == [
        "error:NameError" if head == "import __future__" else wanted
    ]


def test_identifiers_of_other_letters(pool):
    for solution in (
        "def g():\n    \u03c0 = 7\n    return \u03c0",
        "def g():\n    return eval('(lambda \u03c0: \u03c0)(7)')",
    ):
        assert outcomes(pool, SEVEN, solution) == ["accepted"]
    assert outcomes(
        pool, "def f(x: str):\n    return x == '\\N{BULLET}'", "def g():\n    return '\\N{BULLET}'"
    ) == ["accepted"]
    assert outcomes(pool, SEVEN, "import unicodedata\ndef g():\n    return 7") == ["error:ImportError"]


def test_typing_has_its_name_too(pool):
    puzzle = "def f(x: typing.List[int], n: typing.Optional[int] = 7):\n    return sum(x) == n"
    assert outcomes(pool, puzzle, "def g(n=7) -> typing.List[int]:\n    return [n]") == ["accepted"]


def test_garbage_in_cycles_is_collected_in_checks():
    litter = "for i in range({}):\n        a = [0] * 20000\n        a.append(a)\n    return"
    puzzle = "def f(x: int):\n    " + litter.format(4000) + " x == 7"
    with Pool(1, Limits(cpu_s=10, memory_mb=256)) as pool:
        assert outcomes(pool, puzzle, "def g():\n    return 7", "def g():\n    return 8") == [
            "accepted",
            "wrong",
        ]


def test_an_outcome_is_one_of_ours(pool):
    """A program alone that writes `not_plain` as its own report, which is no outcome."""
    from verifier.outcomes import ERROR, OUTCOMES

    forge = """import statistics
m = statistics.sys.modules
def g():
    area = [t for t in m['gc'].get_objects() if type(t) is m['verifier.worker.area'].Area][0]
    area.append(0, m['verifier.worker.area'].pack_report({!r}, '7', 0.0, 0))
    m['posix']._exit(0)"""
    for outcome in ("not_plain", "same", "full", "answer", "nonsense", "memory_limit", "error:1"):
        verdict = next(pool.judge([{"puzzle": SEVEN, "solution": forge.format(outcome)}]))
        assert verdict.outcome in OUTCOMES or verdict.outcome.startswith(ERROR), verdict


def test_long_endless_programs_are_compiled_once():
    """Each takes a good part of the limit to compile; later children, looking for its twins, do not do so again."""
    import resource

    big = "x = [" + "[1, 2], " * 40_000 + "]"
    loops = [f"{big}\ndef g():\n    while True: {i}" for i in range(5)]

    def spent_s() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    start_s = spent_s()
    with Pool(1, Limits(cpu_s=0.7)) as pool:
        assert outcomes(pool, SEVEN, *loops) == ["cpu_limit"] * len(loops)
    used_s = spent_s() - start_s
    with Pool(1) as pool:
        compiling_s = next(
            pool.judge([{"puzzle": SEVEN, "solution": f"{big}\ndef g():\n    return 7"}])
        ).cpu_s
    again_s = compiling_s * len(loops) * (len(loops) - 1) / 2
    assert used_s < len(loops) * 0.7 + again_s / 2 + 1.0, (used_s, compiling_s)


@pytest.mark.parametrize(
    "how", ["random.seed()", "random.seed(None)", "random = random.Random()", "random.Random()"]
)
def test_no_seed_comes_from_the_host(pool, how):
    """A generator that nobody gave a seed draws the same in every process."""
    solution = f"import random as r\ndef g():\n    random = r\n    {how}\n    return random.random()"
    puzzle = "def f(x: float):\n    return True"
    answers = set()
    for hash_seed in (0, 1):
        with Pool(1, hash_seed=hash_seed, reuse=0) as other:
            for item in (solution, solution + "  # again", "class A: pass\n" + solution):
                answers.add(next(other.judge([{"puzzle": puzzle, "solution": item}])).answer)
    assert len(answers) == 1 and None not in answers
    seeded = "import random\ndef g():\n    return random.Random({}).random()"
    first, second = (
        next(pool.judge([{"puzzle": puzzle, "solution": seeded.format(n)}])).answer for n in (1, 2)
    )
    assert first != second
