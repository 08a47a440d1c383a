"""Identical attempts are judged once, and nothing that is not identical is taken for it."""

import itertools

import pytest

from verifier import Limits, Pool

PUZZLE = "def f(x: int, n=3):\n    return x == n"
OTHER = "def f(x: int, n=3):\n    return x != n"
SAME_TREE = [
    "def g(n=3):\n    return n",
    "def g(n=3):\n\n    # a comment\n    return (n)",
    "def g(n = 3): return n",
]


@pytest.fixture(scope="module")
def pool():
    with Pool(1, Limits(cpu_s=0.3)) as pool:
        yield pool


def judge(pool: Pool, *pairs: tuple[str, str]) -> list[str]:
    return [v.outcome for v in pool.judge({"puzzle": puzzle, "solution": text} for puzzle, text in pairs)]


def test_same_text_is_judged_once(pool):
    """In flight and long after; verdicts stay in order."""
    before = pool.counters["same_text"]
    wrong = "def g(n=3):\n    return 4"
    outcomes = judge(
        pool, *itertools.chain.from_iterable([(PUZZLE, SAME_TREE[0]), (PUZZLE, wrong)] for _ in range(50))
    )
    assert outcomes == ["accepted", "wrong"] * 50
    assert pool.counters["same_text"] - before == 98
    assert judge(pool, (PUZZLE, wrong), (PUZZLE, SAME_TREE[0])) == ["wrong", "accepted"]
    assert pool.counters["same_text"] - before == 100


def test_same_tree_is_judged_once(pool):
    before = pool.counters["same_tree"]
    spaced = [text.replace("3", "5") for text in SAME_TREE]
    assert judge(pool, *((PUZZLE.replace("3", "5"), text) for text in spaced)) == ["accepted"] * 3
    assert pool.counters["same_tree"] - before == 2


def test_same_tree_of_another_puzzle_is_another_attempt(pool):
    assert judge(pool, (PUZZLE, SAME_TREE[0]), (OTHER, SAME_TREE[1]), (OTHER, SAME_TREE[0])) == [
        "accepted",
        "wrong",
        "wrong",
    ]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("1", "True"),
        ("1", "1.0"),
        ("0.0", "-0.0"),
        ("'a'", "b'a'"),
        ("(1, 2)", "(True, 2)"),
        ("[0.0, 1]", "[-0.0, 1]"),
        ("{0.0}", "{-0.0}"),
        ("frozenset({1})", "frozenset({1.0})"),
        ("1j", "-1j"),
    ],
)
def test_constants_that_are_equal_but_not_the_same(pool, one, two):
    """Python calls them equal; as answers they are not."""
    puzzle = f"def f(x: str):\n    return x == {f'repr({one})'!s}"
    first, second = (f"def g():\n    return repr({value})" for value in (one, two))
    assert judge(pool, (puzzle, first), (puzzle, second)) == ["accepted", "wrong"]


def test_handlers_and_names_tell_programs_apart(pool):
    body = (
        "def g(n=3):\n    try:\n        x = int('3'){}\n    except ValueError:\n        x = 4\n    return x{}"
    )
    texts = [body.format("", ""), body.format("", " + 0"), body.format(" // 0 if n == 4 else 3", "")]
    assert judge(pool, *((PUZZLE, text) for text in texts)) == ["accepted"] * 3


def test_endless_twins_cost_one_limit(pool):
    """The child dies over the first; the others are the same to the next child too."""
    texts = [f"def g(n=3):\n{' ' * (4 + i)}while True:\n{' ' * (5 + i)}n += 1" for i in range(20)]
    before = pool.counters["same_tree"]
    assert judge(pool, *((PUZZLE, text) for text in texts), (PUZZLE, "def g(n=3):\n    return 3")) == [
        *["cpu_limit"] * 20,
        "accepted",
    ]
    assert pool.counters["same_tree"] - before == 19


def test_endless_to_compile_and_endless_to_run(pool):
    """What never compiles cannot be told apart from its twins, and must not hold the others up."""
    compiling = "def g(n=3):\n    return (2 ** 60 ** 2) * 3 and " + " + ".join(["n"] * 20_000)
    loop = "def g(n=3):\n    while True:\n        n += 1"
    outcomes = judge(
        pool, *[(PUZZLE, loop), (PUZZLE, compiling), (PUZZLE, loop + " "), (PUZZLE, SAME_TREE[0])]
    )
    assert outcomes[0] == outcomes[2] == "cpu_limit"
    assert outcomes[3] == "accepted"


def test_answers_are_checked_once_but_for_each_puzzle(pool):
    """Different programs with one answer, interleaved over puzzles that disagree about it."""
    pairs = [
        (puzzle, f"def g(n=3):\n    return {i} - {i} + 3") for i in range(30) for puzzle in (PUZZLE, OTHER)
    ]
    assert judge(pool, *pairs) == ["accepted", "wrong"] * 30


def test_infrastructure_failures_are_not_kept(monkeypatch):
    from verifier.reuse import Reuse
    from verifier.verdict import Verdict

    kept, ready = Reuse(10), {}
    deliver = kept.begin(ready, (1.0,))
    item = {"puzzle": "p", "solution": "s"}
    assert kept.is_first(0, item) and not kept.is_first(1, item)
    deliver(0, Verdict("infrastructure"))
    assert [ready[0].outcome, ready[1].outcome] == ["infrastructure"] * 2
    assert kept.is_first(2, item)
    deliver(2, Verdict("accepted"))
    assert not kept.is_first(3, item)
    kept.begin({}, (2.0,))  # other limits
    assert kept.is_first(0, item)


def test_least_recently_used_are_forgotten():
    from verifier.reuse import Reuse
    from verifier.verdict import Verdict

    kept = Reuse(2)
    deliver = kept.begin({}, ())
    items = [{"puzzle": "p", "solution": str(i)} for i in range(3)]
    for place, item in enumerate(items[:2]):
        assert kept.is_first(place, item)
        deliver(place, Verdict("wrong"))
    assert not kept.is_first(2, items[0])
    assert kept.is_first(3, items[2])
    deliver(3, Verdict("wrong"))
    assert not kept.is_first(4, items[0]) and kept.is_first(5, items[1])
