"""Questions to puzzles: screening says what the judge would say of every guess, and a batch changes nothing."""

import random

import pytest

from verifier import Limits, Pool
from verifier.worker.trivial import trivial_answers

LIMITS = Limits(cpu_s=0.3, memory_mb=256, output_bytes=1 << 16)
LOOP = "def f(x: int):\n    while x > 5:\n        pass\n    return x == 40"

# Puzzles at odds with anything that is shared: with the guesses before, with another puzzle, with the reporting.
ODD = {
    "each guess prints nearly all it may": "def f(x: int):\n    print('-' * 60000)\n    return x > 70",
    "counts calls in a module": "def f(x: int):\n    import math\n    n = math.__dict__.setdefault('n', [])\n"
    "    n.append(x)\n    return len(n) == 1 and x > 0",
    "counts definitions": "def f(x: int, n=__import__('math').__dict__.setdefault('k', []).append(0)):\n"
    "    return len(__import__('math').k) == 1 and x > 3",
    "ends its process after 20": "def f(x: int):\n    import random\n    if x > 20:\n        random._os._exit(0)\n"
    "    return x == 90",
    "evaluates text": "def f(x: int):\n    return x and eval('(' * 90 + 'x' + ')' * 90, {'x': x}) == 7",
    "all of the memory": "def f(x: int):\n    return len([0] * 10**10) == x or x == 3",
    "catches all": "def f(x: int):\n    try:\n        return len([0] * 10**10) == x\n    except MemoryError:\n"
    "        return x == 9",
    "prints too much, and hides it": "def f(x: int):\n    try:\n        print('-' * 70000)\n"
    "    except BaseException:\n        return x == 11",
    "changes its default": "def f(x: int, seen=[]):\n    seen.append(x)\n    return len(seen) > 1",
    "changes its answer": "def f(x: List[int]):\n    x.append(1)\n    return x == [1, 1]",
    "random": "def f(x: int):\n    import random\n    return random.randint(0, 50) == x",
    "refuses everything": "def f(x: int):\n    return x * x == 2",
}


@pytest.fixture(scope="module")
def pool():
    with Pool(1, LIMITS) as pool:
        yield pool


def by_the_judge(pool, source, answer_type="int"):
    """The first guess that the judge accepts; None for none."""
    guesses = trivial_answers(answer_type)
    verdicts = pool.judge(
        {"puzzle": source, "solution": f"def g():\n    return {guess!r}"} for guess in guesses
    )
    accepted = [guess for guess, verdict in zip(guesses, verdicts, strict=True) if verdict.accepted]
    return next(iter(accepted), None)


@pytest.mark.parametrize("name", ODD)
def test_a_puzzle_is_trivial_if_the_judge_accepts_a_guess(pool, name):
    answer_type = "List[int]" if "List" in ODD[name] else "int"
    wanted = by_the_judge(pool, ODD[name], answer_type)
    report = next(pool.screen_puzzles([ODD[name]]))
    assert (report.detail if report.reason == "trivial" else None) == (
        None if wanted is None else repr(wanted)
    ), report
    assert report.ok == (wanted is None and name != "ends its process after 20")


def test_the_company_of_a_puzzle_changes_nothing(pool):
    sources = [
        *ODD.values(),
        LOOP,
        "def f(x: int):\n    return x == 12",
        "def f(",
        "def f(x: int):\n    return y == x",
    ] * 2
    alone = {source: next(pool.screen_puzzles([source])) for source in dict.fromkeys(sources)}
    random.Random(0).shuffle(sources)
    for source, report in zip(sources, pool.screen_puzzles(sources), strict=True):
        expected = alone[source]
        assert (report.reason, report.detail, report.tried) == (
            expected.reason,
            expected.detail,
            expected.tried,
        )


def test_what_one_puzzle_left_in_a_cache_answers_no_other(pool):
    """Keys that are equal and not the same: with 1 in the cache, 1.0 would be no error any more."""
    for fills, finds, alone in (
        ("import re\n    return re.compile('a', 1) is None",
         "import re\n    re.compile('a', 1.0)\n    return x == 3", "ee"),
        ("return str(List[1]) == x", "return str(List[True]) == 'typing.List[1]'", "00"),
    ):  # fmt: skip
        sources = [f"def f(x: int):\n    {body}" for body in (fills, finds)]
        assert list(pool.ask([(sources[1], [3, 4])], each_s=1, total_s=9, ends=3)) == [alone]
        assert list(pool.ask([(s, [3, 4]) for s in sources], each_s=1, total_s=9, ends=3))[1] == alone


def test_a_puzzle_comes_as_deep_as_before_the_judge(pool):
    """How many of our calls lie below a program must not matter to one that calls itself some thousand times."""
    source = (
        "def f(x: int):\n    def h(n):\n        try:\n            return h(n + 1)\n"
        "        except RecursionError:\n            return n\n    d = h(0)\n    if d != x:\n"
        "        raise ValueError(d)\n    return True"
    )
    said = [
        next(pool.judge([{"puzzle": puzzle, "solution": "def g():\n    return 3"}])).detail
        for puzzle in (source, source.replace("    d =", "    class A: pass\n    d ="))
    ]
    depth = int(said[0].rpartition(" ")[2])
    assert said[0] == said[1] and depth > 4900
    values = [depth - 1, depth, depth + 1]
    assert list(pool.ask([(source, values)], each_s=1, total_s=9, ends=3)) == ["e1e"]


def test_a_report_cannot_be_forged(pool):
    """A puzzle that is not plain may write where reports are kept, but at most about itself."""
    forger = (
        "def f(x: int):\n    import sys\n    frame = sys._getframe(1)\n    while frame:\n"
        "        area = frame.f_locals.get('area')\n        if area is not None:\n"
        "            area.append(0, b'\\0' * 16)\n        frame = frame.f_back\n    return True"
    ).replace("import sys\n", "import random\n    sys = random._os.sys\n")
    reports = list(
        pool.screen_puzzles(
            ["def f(x: int):\n    return x == 12", forger, "def f(x: int):\n    return x == 200"]
        )
    )
    assert [report.reason for report in (reports[0], reports[2])] == ["trivial", ""]
    assert not reports[1].ok
    assert (
        not next(pool.judge([{"puzzle": forger, "solution": "def g():\n    return 3"}])).accepted
        or reports[1].reason
    )


def test_an_endless_puzzle_costs_its_limit_once(pool):
    endless, *others = pool.screen_puzzles(
        [LOOP, *(f"def f(x: int):\n    return x == {n}" for n in range(200, 210))]
    )
    assert (endless.reason, endless.tried) == ("timeout", 17) and all(report.ok for report in others)
    assert 0.3 <= endless.cpu_s < 0.6


def test_letters(pool):
    values = [3, 0, "3", 3.0, [3], 200, 10**30]
    source = (
        "def f(x: int):\n    while x == 200:\n        pass\n    assert x\n    return x < 10 and x % 3 == 0"
    )
    says = pool.ask(
        [(source, values), (source, values[:2]), ("def f(x", values)], each_s=0.1, total_s=9, ends=3
    )
    assert list(says) == ["1e000!0", "1e", ""]


def test_patience(pool):
    slow = "def f(x: int):\n    while x:\n        pass\n    return True"
    sleepy = "def f(x: int):\n    n = 0\n    for i in range(400000):\n        n += i\n    return n == x"
    values = [0, *range(1, 50), 0]
    assert list(pool.ask([(slow, values)] * 2, each_s=0.05, total_s=9, ends=2)) == ["1!!"] * 2
    (letters,) = pool.ask([(slow, values)], each_s=0.05, total_s=0.12, ends=99)
    assert letters == "1!!!"
    (letters,) = pool.ask([(sleepy, values)], each_s=1, total_s=0.3, ends=99)
    assert 2 <= len(letters) < len(values) and set(letters[:-1]) == {"0"}


def test_a_puzzle_that_kills_its_process_is_asked_apart():
    """Plain, and the death of whatever child runs it: the interpreter's own stack overflows in C."""
    patient = Limits(
        cpu_s=10.0, memory_mb=256, output_bytes=1 << 16
    )  # on a busy host, a crash takes 0.3 s of CPU
    killer = "def f(x: int):\n    a = [x]\n    for _ in range(x and 150000):\n        a = map(abs, a)\n"
    killer += "    return list(a) == [0]"
    others = [f"def f(x: int):\n    return x == {n}" for n in range(3)]
    with Pool(1, patient) as pool:
        questions = [(source, [0, 1, 2]) for source in (others[0], killer, *others[1:])]
        assert list(pool.ask(questions, each_s=10, total_s=90, ends=3)) == ["100", "1!!", "010", "001"]
        (report,) = pool.screen_puzzles([killer])
    assert (report.reason, report.tried) == ("killed", 1)


def test_whole_answers_of_solutions(pool):
    solutions = {
        "return list(range(3000))": (list(range(3000)),),
        "return 'x' * 2000": ("x" * 2000,),
        "return None": (None,),
        "return [1.5, (2, {3: 'a'})]": ([1.5, (2, {3: "a"})],),
        "return [0] * 60000": None,  # too long
        "while True:\n        pass": None,
        "return g": None,
        "return 1 / 0": None,
        "import random\n    random._os._exit(0)": None,
    }
    found = list(pool.answers((f"def g():\n    {body}" for body in solutions), most_bytes=1 << 15))
    assert found == list(solutions.values())
    with pytest.raises(TypeError, match="solution 1"):
        list(pool.answers(["def g():\n    return 1", None]))
