"""The rules for generated puzzles, one by one, and the filter that applies them in order."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t5x_selfprog.puzzles.p3 import load_problems
from t5x_selfprog.puzzles.rules import (
    OPTIONAL_RULES,
    RULES,
    Kept,
    PuzzleFilter,
    PuzzleRules,
    Rejected,
    check,
    paper_rules,
)

OURS = PuzzleRules()


@pytest.mark.parametrize(
    "puzzle",
    [
        "def f(x: int):\n    return x * x == 1764",
        "def f(x: List[List[bool]], n=3):\n    return len(x) == n and all(any(row) for row in x)",
        "def f(s: str, words=['a', 'b'], k=2):\n    assert len(s) > k\n    return all(w in s for w in words)",
        "def f(x: list[int], lo=0, hi=9):\n    return sorted(x) == x and all(lo <= v < hi for v in x)",
        "def f(x: float):\n    def near(a, b):\n        return abs(a - b) < 1\n    return near(x * x, 2.0)",
        "def f(n: int, depth=3):\n    return n == 1 if depth == 0 else f(n // 2, depth - 1)",
        "def f(x: int, a=3):\n    seen: Set[int] = set()\n    while x not in seen:\n"
        "        seen.add(x)\n        x = x * a % 17\n    return len(seen) == 16",
    ],
)
def test_good_puzzles_are_kept_as_they_are(puzzle):
    kept = check(puzzle + "\n\n", OURS)
    assert isinstance(kept, Kept), kept
    assert kept.source == puzzle


@pytest.mark.parametrize(
    ("reason", "puzzle"),
    [
        ("too_long", f"def f(x: str):\n    return x == {'a' * 2000!r}"),
        ("no_parse", "def f(x: int):\n    return x =="),
        ("no_parse", "def f(x: int):\n    return x == 1\x00"),
        ("no_parse", "def f(x: str):\n    return x == '\ud800'"),
        ("no_parse", "def f(x: int): return " + "(" * 400 + "x" + ")" * 400),
        ("bad_signature", ""),
        ("bad_signature", "def  f(x: int): return x == 1"),
        ("bad_signature", "# Note\ndef f(x: int): return x == 1"),
        ("bad_signature", "async def f(x: int): return x == 1"),
        ("bad_signature", "def f(x: int): return x == 1\ndef f(x: int): return x == 2"),
        ("bad_signature", "def f(): return True"),
        ("bad_signature", "def f(x: int, y: int): return x == y"),
        ("bad_signature", "def f(x: int = 3): return x == 1"),
        ("bad_signature", "def f(x: int, *a): return x == 1"),
        ("bad_signature", "def f(x: int, **a): return x == 1"),
        ("bad_signature", "def f(x: int, *, a=1): return x == a"),
        ("bad_signature", "def f(x: int, /): return x == 1"),
        ("bad_type", "def f(x): return x == 1"),
        ("bad_type", "def f(x: bool): return x"),
        ("bad_type", "def f(x: List): return x"),
        ("bad_type", "def f(x: Dict[int, int]): return x"),
        ("bad_type", "def f(x: Tuple[int, int]): return x"),
        ("bad_type", "def f(x: List[Optional[int]]): return x"),
        ("bad_type", "def f(x: bytes): return x"),
        ("no_return", "def f(x: int):\n    x == 1"),
        ("no_return", "def f(x: int):\n    if x: return\n    print(x)"),
        ("no_return", "def f(x: int):\n    def h(): return x\n    h()"),
        ("no_return", "def f(x: int):\n    yield x\n    return True"),
        ("answer_unused", "def f(x: int, a=3): return a == 3"),
        ("answer_unused", "def f(x: int, a=[3]): return all(x for x in a)"),
        ("answer_unused", "def f(x: int, a=3):\n    x = 4\n    return a == 3"),
        ("arguments_unused", "def f(x: int, a=3, b=4): return x == a"),
        ("arguments_unused", "def f(x: List[int], i=3): return [i for i in x] == [1]"),
        ("chained_comparison", "def f(x: int, a=3): return x == a == 3"),
        ("chained_comparison", "def f(x: int, a=3): return 1 < x > a"),
        ("chained_comparison", "def f(x: int, a=[3]): return x != 2 in a"),
        ("undefined_names", "def f(x: int): return x == n"),
        ("undefined_names", "def f(x: int): return math.sqrt(x) == 2"),
        ("undefined_names", "def f(x: List[int]): return [y for y in y] == x"),
        ("undefined_names", "def f(x: int): return f1(x)"),
        ("unsafe", "def f(x: int):\n    import math\n    return math.sqrt(x) == 2"),
        ("unsafe", "def f(x: str): return x.__class__.__name__ == 'str'"),
        ("unsafe", "def f(x: str): return eval(x) == 2"),
        ("unsafe", "def f(x: int): return id(x) == 2"),
        ("unsafe", "def f(x: int):\n    f.y = x\n    return f.y == 1"),
        ("unsafe", "def f(x: int):\n    global q\n    q = x\n    return q == 1"),
        ("unsafe", "def f(x: int):\n    class A: y = x\n    return A.y == 1"),
    ],
)
def test_each_rule_names_its_fault(reason, puzzle):
    rejected = check(puzzle, OURS)
    assert isinstance(rejected, Rejected) and rejected.reason == reason and rejected.detail, rejected


def test_the_first_fault_in_the_tables_order_is_the_reason():
    everything_wrong = "def f(x: bool, a=1, *b):\n    import os\n    return 1 == 2 == n"
    assert check(everything_wrong, OURS).reason == "bad_signature"
    assert list(RULES)[:4] == ["too_long", "no_parse", "bad_signature", "bad_type"]


@pytest.mark.parametrize(
    ("rule", "puzzle"),
    [
        ("arguments_unused", "def f(x: int, a=3): return x == 1"),
        ("chained_comparison", "def f(x: int): return x == 1 == x"),
        ("undefined_names", "def f(x: int): return x == n"),
        ("unsafe", "def f(x: str): return eval(x)"),
    ],
)
def test_optional_rules_can_be_skipped_and_the_paper_skips_them(rule, puzzle):
    assert check(puzzle, OURS).reason == rule
    assert isinstance(check(puzzle, PuzzleRules(skip=(rule,))), Kept)
    assert isinstance(check(puzzle, paper_rules()), Kept)


def test_only_optional_rules_can_be_skipped():
    assert set(OPTIONAL_RULES) < set(RULES)
    with pytest.raises(ValueError, match=r"'bad_type' is no optional rule; those are arguments_unused"):
        PuzzleRules(skip=("unsafe", "bad_type"))


# The filter.


def shaped(constant):
    return f"def f(x: int):\n    return x * 3 == {constant}"


def test_duplicates_are_found_through_layout_and_names_count_as_new():
    puzzle_filter = PuzzleFilter(OURS)
    assert isinstance(puzzle_filter.offer(shaped(12)), Kept)
    assert puzzle_filter.offer(shaped(12) + "  # again").reason == "duplicate"
    assert isinstance(puzzle_filter.offer(shaped(12).replace("x", "y")), Kept)


def test_a_shape_is_capped_and_known_puzzles_count():
    puzzle_filter = PuzzleFilter(PuzzleRules(max_per_shape=3), known=[shaped(3)])
    reasons = [getattr(puzzle_filter.offer(shaped(n)), "reason", "kept") for n in (3, 6, 9, 12)]
    assert reasons == ["duplicate", "kept", "kept", "duplicate"]
    unlimited = PuzzleFilter(PuzzleRules(max_per_shape=None))
    assert all(isinstance(unlimited.offer(shaped(n)), Kept) for n in range(50))


def test_a_rejected_puzzle_is_not_remembered():
    puzzle_filter = PuzzleFilter(PuzzleRules(max_per_shape=1))
    assert puzzle_filter.offer(shaped("n")).reason == "undefined_names"
    assert puzzle_filter.offer(shaped("n")).reason == "undefined_names"
    assert isinstance(puzzle_filter.offer(shaped(3)), Kept)


@pytest.fixture
def problems(tmp_path):
    def entry(name, body):
        return {
            "name": f"{name}:0",
            "sat": f"def sat(x: int, a=5):\n    return {body}",
            "ans_type": "int",
            "sol_header": "def sol(a=5):",
            "sol_docstring": "",
            "sol_bodies": [],
            "module": "m",
        }

    entries = [entry("Train", "x + a == 9"), entry("Test", "x - a == 9"), entry("Nowhere", "x // a == 9")]
    (tmp_path / "puzzles.json").write_text(json.dumps(entries))
    (tmp_path / "split.json").write_text(json.dumps({"train": ["Train"], "test": ["Test"]}))
    return load_problems(tmp_path)


@pytest.mark.parametrize(
    ("rules", "body", "detail"),
    [
        (OURS, "x - a == 9", "exact match with Test (held-out)"),
        (OURS, "x - a == 8", "abstract match with Test (held-out)"),
        (OURS, "x // a == 8", "abstract match with Nowhere (held-out)"),
        (OURS, "x + a == 8", "abstract match with Train (train)"),
        (OURS, "x ** a == 8", None),
        (PuzzleRules(train_match="exact"), "x + a == 8", None),
        (PuzzleRules(train_match="exact"), "x + a == 9", "exact match with Train (train)"),
        (PuzzleRules(train_match=None), "x + a == 9", None),
        (paper_rules(), "x - a == 9", None),
    ],
)
def test_puzzles_too_close_to_a_problem_are_contaminated(problems, rules, body, detail):
    result = PuzzleFilter(rules, problems=problems).offer(f"def f(x: int, a=5):\n    return {body}")
    assert (isinstance(result, Kept) and detail is None) or result == Rejected("contaminated", detail)


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from([shaped(1), shaped(2), shaped("x"), "def f(x: int):\n    return x", "def f("]),
        max_size=12,
    )
)
def test_the_filter_is_a_function_of_the_sequence(sequence):
    """A fresh filter that is given the kept puzzles continues like the first one: it has no hidden state."""
    rules = PuzzleRules(max_per_shape=2)
    whole = PuzzleFilter(rules)
    results = [whole.offer(source) for source in sequence]
    for cut in range(len(sequence)):
        kept = [result.source for result in results[:cut] if isinstance(result, Kept)]
        resumed = PuzzleFilter(rules, known=kept)
        assert [resumed.offer(source) for source in sequence[cut:]] == results[cut:]


@given(st.text("def f(x:int)=retun \n\t'\"[]{}\\0\ud800é#@", max_size=80))
def test_no_text_breaks_the_filter(text):
    assert isinstance(PuzzleFilter(OURS).offer(text), Kept | Rejected)
    assert isinstance(PuzzleFilter(OURS).offer("def f(x: int):\n    return " + text), Kept | Rejected)
