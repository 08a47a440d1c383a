"""Judging through the pool: outcomes, order, limits, and that attempts do not touch each other."""

import json
import os
import pathlib
import random
import re

import pytest

from verifier import Limits, Pool, Verdict, parse_puzzle
from verifier.language.puzzle import solution_header

LIMITS = Limits(cpu_s=0.5, memory_mb=512, output_bytes=8 << 20)
SUM = "def f(x: List[int], n=3):\n    return len(x) == n and sum(x) == 10"


@pytest.fixture(scope="module")
def pool():
    with Pool(2, LIMITS) as pool:
        yield pool


@pytest.mark.parametrize(
    ("answer_type", "answer"),
    [
        ("int", "7"),
        ("List[List[int]]", "[[7]]"),
        ("Tuple[int, ...]", "(7, 7)"),
        ("Tuple[()]", "()"),
        ("Dict[str, Set[float]]", "{'a': {0.5}}"),
        ("FrozenSet[bytes]", "frozenset([b'a'])"),
        ("Union[int, List[str], None]", "['a']"),
        ("Optional[bool]", "None"),
    ],
)
@pytest.mark.parametrize("plain", ["", "    n.__class__\n"])
def test_a_typed_header_is_accepted_alone_and_among_others(pool, answer_type, answer, plain):
    puzzle = f"def f(x: {answer_type}, n=3):\n    return x == {answer}"
    header = solution_header(parse_puzzle(puzzle), typed=True)
    assert " -> " in header
    right, wrong = f"{header}\n{plain}    return {answer}", f"{header}\n{plain}    return [n, n, n]"
    assert [v.outcome for v in judge(pool, puzzle, right, wrong)] == ["accepted", "wrong_type"]


def judge(pool: Pool, puzzle: str, *solutions: str) -> list[Verdict]:
    return list(pool.judge({"puzzle": puzzle, "solution": solution} for solution in solutions))


def outcome(pool: Pool, puzzle: str, solution: str) -> str:
    return judge(pool, puzzle, solution)[0].outcome


@pytest.mark.parametrize(
    ("solution", "wanted"),
    [
        ("def g(n=3):\n    return [10] + [0] * (n - 1)", "accepted"),
        ("def g(n=3):\n    return [1]", "wrong"),
        ("def g(n=3):\n    return [True, 9, 0]", "wrong_type"),
        ("def g(n=3):\n    return (10, 0, 0)", "wrong_type"),
        ("def g(n=3):\n    return len", "bad_answer"),
        ("def g(n=3):\n    return [1 / 0]", "error:ZeroDivisionError"),
        ("def g(n=3):\n    return [", "syntax"),
        ("def g(n=3):\n    return [10, 0, 0]\n\\", "accepted"),
        ("def g(n=3):\n    return [10, 0, 0]\\", "accepted"),
        ("def g(n=3):\n    return [10, 0, 0]\\\n", "accepted"),
        ("def g(n=3):\n    return [10, 0, 0] + \\", "syntax"),
        ("def g(n=3):\n    return '[10, 0, 0]\\", "syntax"),
        ("def g(n=3):\n    return [10, 0, 0]\0", "syntax"),
        ("def g(n=3):\n    return '\ud800' and [10, 0, 0]", "syntax"),
        ("def g(n=3):\n    return " + "[" * 150 + "]" * 150, "bad_answer"),
        ("def g(n=3):\n    return " + "(" * 250 + ")" * 250, "syntax"),
        ("def g(n=3):\nreturn []", "syntax"),
        ("return 3", "syntax"),
        ("def g(n=3):\n    while True:\n        pass", "cpu_limit"),
        ("def g(n=3):\n    return [0] * 10**9", "memory_limit"),
        ("def g(n=3):\n    return [0] * 10**7", "output_limit"),
        ("def g(n=3):\n    return list(range(n, 5)) + [3]", "accepted"),
        ("", "error:NameError"),
        ("def g(n=3):\n    import sys\n    return [10, 0, 0]", "error:ImportError"),
        ("def g(n=3):\n    from math import gcd\n    return [gcd(10, 20), 0, 0]", "accepted"),
        ("def g(n: int = 3) -> List[int]:\n    return [10, 0, 0]", "accepted"),
        ("class A:\n    x = 10\n\ndef g(n=3):\n    return [A.x, 0, 0]", "accepted"),
        ("def g(n=3):\n    return eval('[10, 0, 0]')", "accepted"),
        ("def g(n=3):\n    return next(x for x in ([i, 0, 0] for i in range(20)) if f(x))", "accepted"),
    ],
)
def test_outcome(pool, solution, wanted):
    assert outcome(pool, SUM, solution) == wanted


@pytest.mark.parametrize(
    ("puzzle", "answer"),
    [
        ("def f(x: int):\n    return x == 7", "7"),
        ("def f(x: int):\n    return len(str(x)) == 5000", "10**4999"),
        ("def f(x: float):\n    return x != x", "float('nan')"),
        ("def f(x: float):\n    return x == float('-inf')", "-float('inf')"),
        ("def f(s: str):\n    return s == '\\ud800'", "chr(0xD800)"),
        ("def f(b: bool):\n    return b", "True"),
        ("def f(x: Dict[str, List[int]]):\n    return x['a'] == [1]", "{'a': [1]}"),
        ("def f(x: dict[str, set[int]]):\n    return x['a'] == {1}", "{'a': {1}}"),
        ("def f(x: Tuple[int, str]):\n    return x == (1, 'a')", "(1, 'a')"),
        ("def f(x: Optional[int]):\n    return x is None", "None"),
        ("def f(x: int | str):\n    return x == 'a'", "'a'"),
        ("def f(x: Union[int, List[str]]):\n    return x == ['a']", "['a']"),
        ("def f(x: List[float]):\n    return x == [0.5, -0.5]", "[0.5, -0.5]"),
        ("def f(x: bytes):\n    return x == b'a'", "b'a'"),
    ],
)
def test_every_type_of_answer(pool, puzzle, answer):
    verdict = judge(pool, puzzle, f"def g():\n    return {answer}")[0]
    assert verdict.accepted, verdict


@pytest.mark.parametrize("value", ["1", "[1]", "'yes'", "None", "x", "type('B', (int,), {})(1)"])
def test_only_true_itself_accepts(pool, value):
    assert (
        outcome(pool, f"def f(x: int):\n    return {value} if x else False", "def g():\n    return 5")
        == "wrong"
    )


def test_what_the_puzzle_raises_is_a_wrong_answer(pool):
    verdict = judge(
        pool, "def f(x: int):\n    assert x > 5, 'too small'\n    return True", "def g():\n    return 1"
    )[0]
    assert (verdict.outcome, verdict.detail) == ("wrong", "f raised AssertionError: too small")


def test_puzzle_that_is_none(pool):
    verdict = judge(pool, "def f(x):\n    return True", "def g():\n    return 1")[0]
    assert verdict.outcome == "error:PuzzleError"
    assert "bad_type" in verdict.detail


def test_puzzle_that_does_not_compile(pool):
    assert (
        outcome(pool, "def f(x: int):\n    nonlocal x\n    return True", "def g():\n    return 1")
        == "error:PuzzleError"
    )


def test_puzzle_that_loops(pool):
    puzzle = "def f(x: int):\n    while x == 1:\n        pass\n    return True"
    verdicts = judge(pool, puzzle, "def g():\n    return 1", "def g():\n    return 2")
    assert [(verdict.outcome, verdict.detail) for verdict in verdicts] == [
        ("cpu_limit", "in the puzzle"),
        ("accepted", ""),
    ]


def test_puzzle_that_is_huge_is_no_danger(pool):
    puzzle = "def f(x: int, n=[" + "1, " * 3_000_000 + "]):\n    return x == 1"
    assert outcome(pool, puzzle, "def g():\n    return 1") == "error:PuzzleError"
    assert outcome(pool, SUM, "def g(n=3):\n    return [10, 0, 0]") == "accepted"


def test_cpu_of_solution_and_check_together(pool):
    work = "sum(i * i for i in range({n}))"
    slow_puzzle = "def f(x: int):\n    return " + work.format(n=6 * 10**6) + " > 0 or x > 0"
    slow_solution = "def g():\n    return " + work.format(n=10**6) + " * 0 + 1"
    with Pool(1, Limits(cpu_s=20)) as patient:
        whole = judge(patient, slow_puzzle, slow_solution)[0]
        half = judge(patient, "def f(x: int):\n    return x == 1", slow_solution)[0]
    assert whole.accepted and half.accepted
    # 2.6 times the one and 1/2.6 of the other: one second of CPU is not like the next where neighbours share it
    with Pool(1, Limits(cpu_s=(whole.cpu_s * half.cpu_s) ** 0.5)) as hasty:
        assert judge(hasty, slow_puzzle, slow_solution)[0].outcome == "cpu_limit"
        assert judge(hasty, "def f(x: int):\n    return x == 1", slow_solution)[0].accepted


def test_order_and_neighbours(pool):
    """A mixed stream comes back in order, each with the outcome it has alone."""
    kinds = {
        "accepted": "def g(n=3):\n    return [10, 0, 0]  # {i}",
        "wrong": "def g(n=3):\n    return [{i}]",
        "error:KeyError": "def g(n=3):\n    return {{}}[{i}]",
        "syntax": "def g(n=3):\n    return ({i}",
        "killed": "import random\n\ndef g(n=3):\n    random._os._exit({i} % 7)",
        "bad_answer": "def g(n=3):\n    return lambda: {i}",
        "memory_limit": "def g(n=3):\n    return [0] * 10**12  # {i}",
    }
    rng = random.Random(1)
    wanted = [rng.choice(list(kinds)) for _ in range(400)]
    items = [{"puzzle": SUM, "solution": kinds[kind].format(i=i)} for i, kind in enumerate(wanted)]
    assert [verdict.outcome for verdict in pool.judge(items)] == wanted


def test_loops_cost_only_themselves(pool):
    loop = "def g(n=3):\n    while True:\n        pass"
    good = "def g(n=3):\n    return [10, 0, 0]"
    verdicts = judge(pool, SUM, good, loop, good, loop, good)
    assert [verdict.outcome for verdict in verdicts] == [
        "accepted",
        "cpu_limit",
        "accepted",
        "cpu_limit",
        "accepted",
    ]


def test_same_verdict_alone_and_in_company():
    """What a batch shares (random's state, defaults, caches) is as if each attempt were alone."""
    puzzle = "def f(x: int, seen=[]):\n    seen.append(x)\n    return len(seen) == 1 and x >= 0"
    solutions = [
        "import random\n\ndef g():\n    return random.randrange(10**6)",
        "import random\n\ndef g():\n    random.seed(5)\n    return random.randrange(10**6)",
        "def g(a=[]):\n    a.append(1)\n    return len(a)",
    ] * 4
    with Pool(1, LIMITS) as company:
        together = [
            verdict.answer for verdict in company.judge({"puzzle": puzzle, "solution": s} for s in solutions)
        ]
        apart = [judge(company, puzzle, solution)[0].answer for solution in solutions]
        accepted = [
            verdict.accepted
            for verdict in company.judge({"puzzle": puzzle, "solution": s} for s in solutions)
        ]
    assert together == apart
    assert together[:3] == together[3:6] and all(accepted)


def test_hash_seed_is_fixed_and_can_be_chosen():
    item = {
        "puzzle": "def f(s: str):\n    return True or s",
        "solution": "def g():\n    return ''.join({*'abcdefgh'})",
    }
    answers = {}
    for seed in (0, 0, 1):
        with Pool(1, LIMITS, hash_seed=seed) as pool:
            answers.setdefault(seed, set()).add(next(pool.judge([item])).answer)
    assert len(answers[0]) == 1 and answers[0] != answers[1]


def test_stream_is_lazy(pool):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield {"puzzle": SUM, "solution": "def g(n=3):\n    return [10, 0, 0]"}

    stream = pool.judge(endless())
    assert all(next(stream).accepted for _ in range(100))
    stream.close()
    assert taken < 10_000
    assert (
        outcome(pool, SUM, "def g(n=3):\n    return [10, 0, 0]") == "accepted"
    )  # and the pool is free again


def test_verdicts_come_before_the_stream_ends(pool):
    """A slow source does not hold back what is judged already."""
    gave = []

    def slow():
        for i in range(20_000):
            gave.append(i)
            yield {"puzzle": SUM, "solution": "def g(n=3):\n    return [10, 0, 0]"}

    first = next(pool.judge(slow()))
    assert first.accepted and len(gave) < 20_000


def test_two_streams_at_once_are_refused(pool):
    stream = pool.judge([{"puzzle": SUM, "solution": ""}] * 2)
    next(stream)
    with pytest.raises(RuntimeError, match="already judging"):
        next(pool.judge([{"puzzle": SUM, "solution": ""}]))
    stream.close()


@pytest.mark.parametrize("item", [{}, {"puzzle": SUM}, {"puzzle": SUM, "solution": 3}, "text", None])
def test_item_that_is_none(pool, item):
    with pytest.raises(TypeError, match="item 0"):
        list(pool.judge([item]))


def test_nothing_to_judge(pool):
    assert list(pool.judge([])) == []


def test_record_has_the_attempt_and_the_verdict(pool):
    attempt = {"puzzle": SUM, "solution": "def g(n=3):\n    return [10, 0, 0]", "puzzle_id": "abc", "id": 7}
    record = next(pool.judge([attempt])).as_record(attempt)
    assert attempt.items() <= record.items()
    assert record["outcome"] == "accepted" and record["answer"] == "[10, 0, 0]"
    assert record["isolation"].startswith("rlimits") and record["cpu_s"] >= 0 and record["peak_mb"] > 1


def test_no_address_is_recorded(pool):
    """They differ in every process, but the records of the same attempts must not."""
    puzzle = "def f(s: str, t='x'):\n    return int(s) == t"
    texts = ("str(x for x in 'a')", "str([x for x in [(y for y in 'b')]])")
    verdicts = judge(pool, puzzle, *(f"def g(t='x'):\n    return {text}" for text in texts))
    assert verdicts[0].answer == "'<generator object g.<locals>.<genexpr> at 0x...>'"
    verdicts += judge(pool, puzzle, "def g(t='x'):\n    return int(str(x for x in 'a'))")
    assert all(re.search("0x[0-9a-f]", f"{v.answer} {v.detail}") is None for v in verdicts), verdicts
    assert "at 0x..." in verdicts[2].detail
    # what is judged is the whole text
    wanted = "def f(s: str):\n    return ' at 0x' in s and '...' not in s"
    assert outcome(pool, wanted, "def g():\n    return str(x for x in 'a')") == "accepted"


def test_answer_shown_is_bounded(pool):
    for value in (
        "'x' * 10**6",
        "list(range(10**5))",
        "[['a' * 10**4] * 10] * 10",
        "7 ** 10**6",
        "[7 ** 10**5] * 9",
    ):
        puzzle = "def f(x: Union[int, str, List[int], List[List[str]]]):\n    return x == x"
        verdict = judge(pool, puzzle, f"def g():\n    return {value}")[0]
        assert verdict.accepted and 0 < len(verdict.answer) <= 200


@pytest.mark.parametrize(
    "limits",
    [{"cpu_s": 0}, {"wall_s": 0.1}, {"memory_mb": 10}, {"output_bytes": 10}, {"output_bytes": 1 << 40}],
)
def test_limits_that_make_no_sense(limits):
    with pytest.raises(ValueError, match=next(iter(limits))):
        Limits(**limits)


def test_paper_imports():
    items = [
        {
            "puzzle": "def f(x: int):\n    return x == 1",
            "solution": f"import {name}\n\ndef g():\n    return 1",
        }
        for name in ("math", "itertools")
    ]
    with Pool(1, LIMITS, imports="paper") as pool:
        assert [verdict.outcome for verdict in pool.judge(items)] == ["accepted", "error:ImportError"]


# --- real data, where it is at hand

P3 = pathlib.Path(os.environ.get("SELFPROG_P3_DIR", "../shared/data/p3"))


@pytest.mark.skipif(not (P3 / "puzzles.json").exists(), reason="set SELFPROG_P3_DIR to P3's folder")
def test_reference_solutions_of_p3():
    """Every 20th instance here; scripts/measure/measure_verifier.py does all."""
    items = []
    for entry in json.loads((P3 / "puzzles.json").read_text())[::20]:
        puzzle = re.sub(r"^def sat\(", "def f(", entry["sat"])
        header = re.sub(r"^def sol\(", "def g(", entry["sol_header"])
        items += [{"puzzle": puzzle, "solution": f"{header}\n{body}"} for body in entry["sol_bodies"]]
    with Pool(2) as pool:
        refused = [verdict for verdict in pool.judge(items) if not verdict.accepted]
    assert {verdict.outcome for verdict in refused} <= {"cpu_limit"} and len(refused) <= 2
