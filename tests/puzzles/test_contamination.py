"""The test firewall recognises protected problems, plain or disguised."""

import json
import os
from pathlib import Path

import pytest

from t5x_selfprog.puzzles.contamination import Protected
from t5x_selfprog.puzzles.p3 import in_split, load_problems
from t5x_selfprog.puzzles.source import rename_function

P3 = Path(os.environ.get("SELFPROG_P3_DIR", "../shared/data/p3"))
needs_p3 = pytest.mark.skipif(
    not (P3 / "puzzles.json").exists(), reason=f"P3 is not at {P3} (SELFPROG_P3_DIR)"
)

BODY = "    return len(words) == n and all(w.count(c) == i for i, w in enumerate(words))"
PUZZLE = f"def sat(words: List[str], n=3, c='e'):\n{BODY}"
RENAMED = (
    "def f(s: List[str], k=99, q='zz'):\n"
    "    return len(s) == k and all(t.count(q) == j for j, t in enumerate(s))"
)

DRESSED = (
    "def f(s: List[str], q='zz', k=99):\n    if not k == len(s):\n        return False\n"
    "    fits = all(j == t.count(q) for j, t in enumerate(s))\n    return bool(fits) == True"
)

WITHOUT_PARAMETERS = (
    "def f(s: List[str]):\n    def check(t):\n        size = len(t)\n"
    "        return size - 99 == 0 and all(u.count('zz') == j for j, u in enumerate(t))\n    return check(s)"
)


@pytest.fixture
def protected(tmp_path):
    entries = [
        {
            "name": f"Counting:{i}",
            "sat": PUZZLE.replace("n=3", default),
            "ans_type": "List[str]",
            "sol_header": "def sol():",
            "sol_docstring": "",
            "sol_bodies": [],
            "module": "words",
        }
        for i, default in enumerate(["n=3", "n=7", "n=None"])
    ]
    (tmp_path / "puzzles.json").write_text(json.dumps(entries))
    (tmp_path / "split.json").write_text("{}")
    return Protected(load_problems(tmp_path), ngram=8)


@pytest.mark.parametrize(
    ("source", "levels"),
    [
        (PUZZLE.replace("sat", "f"), ["exact", "abstract", "canonical", "ngram"]),
        (  # Another spelling, of another instance.
            "def f(words: List[str], n = 7, c=\"e\"):  # note\n    '''Mine.'''\n"
            + BODY.replace("==", " == "),
            ["exact", "abstract", "canonical", "ngram"],
        ),
        (RENAMED, ["abstract", "canonical", "ngram"]),
        (DRESSED, ["canonical", "ngram"]),
        (WITHOUT_PARAMETERS, ["canonical"]),
        (  # Part of a disguise, in other company.
            "def f(s: str, q='zz'):\n    t = all(w.count(q) == j for j, w in enumerate(s.split()))\n"
            "    return t and s > q",
            ["ngram"],
        ),
        (
            "def f(x: str, v=['a'], w=1, i=0):\n    assert x\n    return all(w.count(c) == i for w in v)",
            ["ngram"],
        ),
        ("def f(words: List[str], n=3, c='e'):\n    return len(words) != n", []),
        ("def f(words: List[str], n=3, c='e'):\n    return len(", []),
    ],
)
def test_each_level_sees_through_its_disguise(protected, source, levels):
    matches = protected.matches(source)
    assert [match.level for match in matches] == levels
    assert {match.problem for match in matches} <= {"Counting"}
    assert protected.match(source) == (matches[0] if matches else None)


def test_looser_levels_can_be_left_out(protected):
    assert protected.match(RENAMED, upto="exact") is None
    assert str(protected.match(RENAMED, upto="abstract")) == "abstract match with Counting"


def test_an_ngram_match_shows_what_is_shared(protected):
    match = protected.match("def f(x: int, w=1):\n    return x in [w.count(c) == i for i in w]")
    assert match is not None and match.detail == "w . count ( c ) == i"


def test_nothing_matches_an_empty_set():
    assert Protected([]).match("def f(x: int): return x == 1") is None
    with pytest.raises(ValueError, match="ngram and outline must be at least 1, got 0 and 20"):
        Protected([], ngram=0)


@needs_p3
def test_every_p3_test_puzzle_is_recognised_and_few_train_puzzles_are_taken_for_one():
    problems = load_problems(P3)
    test, train = in_split(problems, "test"), in_split(problems, "train")
    protected = Protected(test)
    for problem in test:
        assert all(protected.match(source, upto="exact") for source in problem.instances)
        commented = rename_function(problem.source, "f").replace("\n", "  # \n", 1)
        assert protected.match(commented, upto="exact") is not None
    assert sum(protected.match(problem.source, upto="abstract") is not None for problem in train) <= 2
