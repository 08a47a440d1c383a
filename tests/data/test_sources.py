"""Pairs from elsewhere: the paper's file format, other runs, exports; anything else is refused."""

import gzip
import json

import pytest

from t5x_selfprog.data.sources import read_pairs, split_pair
from t5x_selfprog.puzzles.prompts import pair_text
from t5x_selfprog.puzzles.source import puzzle_id
from tests.data.pairs_run import make_pairs_run
from verifier.errors import UserError

F = "def f(s: str, n=3):\n    t = 'assert f(g())'\n\n    return s.count('a') == n and t"
G = "def g(n=3):\n    return 'a' * n"
OTHER = ("def f(x: int):\n    return x > 10", "def g():\n    def g(y):\n        return y\n    return g(11)")


def paper_file(*pairs: tuple[str, str]) -> str:
    """The format that the paper's preprocess.py writes."""
    return "".join(f"{f}\n\n{g}\n\nassert f(g())\n\n" for f, g in pairs)


@pytest.mark.parametrize("name", ["125M_PAPER_25K_iter_0.txt", "125M_PAPER_25K_iter_0.txt.gz"])
def test_the_papers_files_load_as_they_are(tmp_path, name):
    path = tmp_path / name
    data = paper_file((F, G), OTHER).encode()
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found = list(read_pairs(str(path)))
    assert [split_pair(pair["text"]) for pair in found] == [(F, G), OTHER]
    assert found[0]["puzzle_id"] == puzzle_id(F) and found[0]["weight"] == 1.0


PAIRS = {
    "a blank line and def g( in a text": (
        'def f(s: str):\n    """Text\n\ndef g(a):\n    pass\n"""\n    return s == "a"',
        G,
    ),
    "the check in a text": ('def f(s: str):\n    """\nassert f(g())\n"""\n    return s == "a"', G),
    "the check in a text, after a blank line": (
        'def f(s: str, t="""\n\nassert f(g())\n"""):\n    return s == t',
        G,
    ),
    "the check in the solution's text": (
        F,
        'def g():\n    """\n\nassert f(g())\n\ndef f(x: int):\n    """\n    return "a"',
    ),
    "a text in two kinds of quotes": ("def f(s: str):\n    '''\"\"\"\nassert f(g())\n'''\n    return s", G),
    "a comment at the end": (
        "def f(s: str):\n    return s == 'a'\n    # the end",
        "# first\n\ndef g():\n    return 'a'",
    ),
    "what stands before g": (F, "import math\n\ndef h():\n    return 1\n\ndef g():\n    return 'a' * h()"),
    "g by assignment": (F, "g = lambda: 'a'"),
    "a signature of several lines": ("def f(\n    s: str,\n\n    n=3\n):\n    return s == 'a'", G),
    "a line that goes on": ("def f(s: str):\n    return s == \\\n'a'", G),
    "other ends of lines": ("def f(s: str):\n    return s == '''a\x0cb\x85c\u2028d\x1ee'''", G),
    "a carriage return": ("def f(s: str):\n    return s == 'a' # \r    and more", G),
    "letters beyond ASCII": ("def f(s: str, \u03c0='\u00e9'): return s == '\u20ac' + \u03c0  # \u2026", G),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_comes_back_as_it_went(tmp_path, name):
    pair = PAIRS[name]
    text = pair_text(*pair)
    assert split_pair(text) == pair
    path = tmp_path / "pairs.txt"
    path.write_text("\n\n".join([pair_text(F, G), text, text, pair_text(*OTHER)]) + "\n\n", newline="")
    found = [split_pair(record["text"]) for record in read_pairs(str(path))]
    assert found == [(F, G), pair, pair, OTHER]


def test_a_text_that_never_ends_costs_its_own_pair_only(tmp_path):
    path = tmp_path / "pairs.txt"
    broken = ('def f(s: str):\n    return s == """a', G)
    path.write_text(paper_file((F, G), broken, *[OTHER] * 30, (F, G)))
    found = [split_pair(record["text"]) for record in read_pairs(str(path))]
    assert found == [(F, G), broken, *[OTHER] * 30, (F, G)]
    path.write_text(paper_file(broken, OTHER))
    assert [split_pair(record["text"]) for record in read_pairs(str(path))] == [broken, OTHER]


def test_puzzles_of_an_older_python_are_kept(tmp_path):
    path = tmp_path / "old.txt"
    path.write_text(paper_file(("def f(x: int):\n    print x", G)))
    assert len(list(read_pairs(str(path)))) == 1


def test_a_run_gives_the_pairs_of_all_iterations(tmp_path):
    run = make_pairs_run(tmp_path / "run", (3, 4))
    pairs = [pair for pair in read_pairs(str(run)) if split_pair(pair["text"])]
    assert [pair["iteration"] for pair in pairs].count(1) == 8 and len(pairs) == 14
    one = list(read_pairs(str(run / "iter_001" / "5_dataset")))
    assert len(one) == 9


def test_rows_of_an_export(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_text(json.dumps({"puzzle": F, "solution": G, "iteration": 2}) + "\n")
    (pair,) = read_pairs(str(path))
    assert split_pair(pair["text"]) == (F, G) and pair["iteration"] == 2


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"def f(x: int):\n    return x\n\nassert f(g())\n", "line 1: 'def f"),
        ("a.txt", b"nothing of the kind\n", "has no line"),
        ("a.txt.gz", b"not gzip", "not a complete gzip file"),
        ("a.txt.gz", gzip.compress(paper_file((F, G)).encode(), mtime=0)[:-9], "not a complete gzip file"),
        ("a.jsonl", b'{"puzzle": "def f"}\n', "line 1: needs a puzzle and a solution"),
        ("a.jsonl", b"{half", "line 1"),
    ],
)
def test_what_is_no_pair_is_named(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words):
        list(read_pairs(str(tmp_path / name)))


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="no pairs here"):
        read_pairs(str(tmp_path))
    with pytest.raises(UserError, match="no such file"):
        list(read_pairs(str(tmp_path / "a.txt")))
