"""Screening: the reason is the right one, and the guesses are the declared ones."""

import pytest

from verifier import Limits, Pool
from verifier.language.answer_types import compile_checker, parse_type
from verifier.worker.trivial import trivial_answers


@pytest.fixture(scope="module")
def pool():
    with Pool(1, Limits(cpu_s=0.5, memory_mb=256, output_bytes=1 << 20)) as pool:
        yield pool


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(x: int):\n    return x * x == 144", "trivial"),
        ("def f(x: int):\n    return x == -10", "trivial"),
        ("def f(x: int):\n    return x == 101", ""),
        ("def f(s: str):\n    return s == 'baz'", "trivial"),
        ("def f(s: str):\n    return s == 'qux'", ""),
        ("def f(x: float):\n    return x == -0.1", "trivial"),
        ("def f(x: bool):\n    return not x", "trivial"),
        ("def f(x: List[int]):\n    return sum(x) == 3 and len(x) == 2", "trivial"),
        ("def f(x: List[int]):\n    return len(x) == 3", ""),
        ("def f(x: List[List[str]]):\n    return x == [[], ['cat']]", "trivial"),
        ("def f(x: Dict[str, int]):\n    return x.get('cat') == 1", "trivial"),
        ("def f(x: Optional[int]):\n    return x is None", "trivial"),
        ("def f(x: int):\n    return 1", "answer_unused"),
        ("def f(x: int):\n    return x or 1", ""),  # truthy is not True
        ("def f(x: int):\n    print(x)", "no_return"),
        ("def f(x: int):\n    return True", "answer_unused"),
        ("def f(x: int)", "no_parse"),
        ("def f(x: int, y: int):\n    return x == y", "bad_signature"),
        ("def f(x):\n    return x == 3", "bad_type"),
        ("def f(x: int):\n    return x > limit", "broken"),
        ("def f(x: int, n=limit):\n    return x > n", "broken"),
        ("def f(x: int):\n    import os\n    return x > 3", "broken"),
        ("def f(x: int):\n    assert x > 1000\n    return True", ""),
        ("def f(x: int):\n    while x == 50:\n        pass\n    return False", "timeout"),
        ("def f(x: int):\n    return len([0] * 10**12) == x", ""),
        ("def f(x: int):\n    import random\n    random._os._exit(x)", "no_return"),
        ("def f(x: int):\n    import random\n    return random._os._exit(x)", "killed"),
        ("def f(x: int):\n    raise SystemExit\n    return x", ""),
        ("def f(x: int, n=[" + "0, " * 10**6 + "]):\n    return x == 5", "too_large"),
    ],
)
def test_reason(pool, source, reason):
    report = next(pool.screen_puzzles([source]))
    assert report.reason == reason, report
    assert report.ok == (reason == "")


def test_report(pool):
    reports = list(
        pool.screen_puzzles(
            ["def f(x: list[int], n=2):\n    return len(x) == n", "def f(x: int):\n    return x.y"]
        )
    )
    assert (reports[0].answer_type, reports[0].detail, reports[0].plain) == ("List[int]", "[0, 0]", True)
    assert (reports[1].ok, reports[1].tried, reports[1].raised) == (True, 111, 111)
    assert reports[0].as_record({"id": 3})["id"] == 3


def test_defaults_are_fresh_for_every_guess(pool):
    source = "def f(x: int, seen=[]):\n    seen.append(x)\n    return len(seen) > 1"
    assert next(pool.screen_puzzles([source])).reason == ""


def test_stream_keeps_order(pool):
    sources = [f"def f(x: int):\n    return x == {i}" for i in range(80, 120)]
    reasons = [report.reason for report in pool.screen_puzzles(sources)]
    assert reasons == ["trivial"] * 21 + [""] * 19


def test_source_that_is_no_text(pool):
    with pytest.raises(TypeError, match="puzzle 0"):
        list(pool.screen_puzzles([3]))


@pytest.mark.parametrize(
    "answer_type",
    "int float str bool bytes complex List[int] List[bool] List[List[int]] List[List[List[str]]] Set[int] "
    "FrozenSet[str] Tuple[int,...] Tuple[int,str] Dict[str,List[int]] Optional[str] Union[int,List[str]]".split(),
)
def test_guesses_have_the_type(answer_type):
    guesses = trivial_answers(answer_type)
    check = compile_checker(parse_type(answer_type))
    assert guesses and all(map(check, guesses))
    assert len(guesses) < 200


def test_guesses_of_the_paper():
    assert trivial_answers("int") == list(range(-10, 101))
    assert set(trivial_answers("str")) == {"cat", "dog", "aa", "ab", "foo", "bar", "baz", ""}
    assert len(trivial_answers("float")) == 13
    assert [] in trivial_answers("List[List[int]]") and [[]] in trivial_answers("List[List[int]]")
