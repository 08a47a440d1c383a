"""Whatever a candidate is, the process that submits it survives, and reports on the attempt itself."""

import tracemalloc

import pytest

from verifier import Limits, Pool, Tiers
from verifier.generality import MAX_CHARACTERS, measure_generality, variants
from verifier.pool import LONGEST_TEXT

EQUAL = "def f(x: int, n=3):\n    return x == n"
HONEST = {"puzzle": EQUAL, "solution": "def g(n=3):\n    return n"}


@pytest.fixture(scope="module")
def pool():
    with Pool(1, Limits(cpu_s=2.0)) as pool:
        yield pool


@pytest.mark.parametrize(
    "body",
    [
        "return n" + " + 0" * 400,
        "return n" + " + 0" * 1500,
        "if n == 0: pass\n" + "    elif n == 1: pass\n" * 300 + "    return n",
        "return " + "-" * 600 + "n",
        "return " + "not not " * 300 + "0 or n",
        "return n" + ".real" * 900,
    ],
)
def test_generality_of_programs_that_are_deep(pool, body):
    pair = {"puzzle": EQUAL, "solution": f"def g(n=3):\n    {body}"}
    assert next(pool.judge([pair])).accepted
    share = measure_generality(pool, [pair], 2)[0]
    assert share == 1.0 or (share is None and not variants(**pair, count=2))


def test_variants_of_a_deep_program_are_found():
    """A text that a visitor cannot follow is not rewritten: only the defaults change, in place."""
    solution = "def g(n=3):\n    return n" + " + 0" * 400
    for puzzle, changed in variants(EQUAL, solution, 3):
        assert changed.replace(changed.partition(")")[0], "def g(n=3") == solution and puzzle != EQUAL


def test_variants_change_the_defaults_and_nothing_else():
    puzzle = "def f(x: int, \u03c0=( 1,\r\n  2), s='\u00e9', k = 0x10):  # (k=1)\r\n    return x == k"
    solution = "import math\n\ndef g(s='other', k=7, /):\n    return k  # s='other'"
    for changed, other in variants(puzzle, solution, 5):
        assert changed.startswith("def f(x: int, \u03c0=( 1,\r\n  2), s=") and changed.endswith(
            "):  # (k=1)\r\n    return x == k"
        )
        assert other.startswith("import math\n\ndef g(s=") and other.endswith(
            ", /):\n    return k  # s='other'"
        )
        space: dict = {}
        exec(changed, {"List": list}, space)
        exec(other, space)
        assert space["f"].__defaults__[2] != 16 or space["f"].__defaults__[1] != "\u00e9"


def test_infinity_is_written_as_it_was():
    """Its repr, `inf`, is not a literal."""
    puzzle = "def f(x: float, n=1e400, m=[-1e400], k=3):\n    return x == k or x == n or m == x"
    found = variants(puzzle, puzzle.replace("f(x: float, ", "g(").replace("x == k or", "k or"), 4)
    assert found and all("n=1e400, m=[-1e400], k=" in text for pair in found for text in pair)


def test_long_defaults_take_no_time():
    digits = "7" * 100_000
    assert variants(EQUAL.replace("=3", f"={digits}"), f"def g(n={digits}):\n    return n", 8) == []
    long = "7" * (MAX_CHARACTERS // 2)
    assert variants(EQUAL.replace("=3", f"={long}"), f"def g(n={long}):\n    return n", 1)


@pytest.mark.parametrize("text", ["x" * LONGEST_TEXT, "#" * LONGEST_TEXT, "\n" * LONGEST_TEXT])
def test_texts_too_long_to_be_programs(pool, text):
    long = text + "\n"
    rows = [
        HONEST,
        HONEST | {"solution": HONEST["solution"] + long},
        HONEST | {"puzzle": EQUAL + long},
        HONEST,
    ]
    verdicts = list(pool.judge(rows))
    assert [v.outcome for v in verdicts] == ["accepted", "memory_limit", "error:PuzzleError", "accepted"]
    assert [r.reason for r in pool.screen_puzzles([EQUAL + long, "def f(x: int):\n    return x == 7"])] == [
        "too_large",
        "trivial",
    ]


@pytest.mark.parametrize("tiers", [None, pytest.param(Tiers(first_s=1.0), marks=pytest.mark.slow)])
def test_a_gigabyte_of_text_in_a_stream(tiers):
    """As one message it would not even be packed. It goes in pieces, and only so much of it is held at a time."""
    comment = "#" + "\u20ac" * (LONGEST_TEXT - 1000) + "\n"

    def attempts():
        for i in range(90):
            yield HONEST | {"solution": f"{comment}def g(n=3):\n    return n + {i % 2}"}

    tracemalloc.start()
    with Pool(1, Limits(cpu_s=5.0, tiers=tiers)) as pool:
        outcomes = [verdict.outcome for verdict in pool.judge(attempts())]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert outcomes == ["accepted", "wrong"] * 45
    assert peak < 700 << 20, peak
