"""Defaults for arguments without one: of the right type, deterministic, and none where the type is unknown."""

import pytest

from t5x_selfprog.puzzles.repair import Defaults, repaired
from verifier import parse_puzzle
from verifier.language.puzzle import PuzzleError

TRAIN = [
    "def f(x: int, n=7, s='ab', li=[1, 2]):\n    return x == n",
    "def f(s: str, words=['a', 'b'], target=1.5):\n    return s in words",
    "def f(x: int, n=9, m=12345):\n    return x == n",
    f"def f(x: int, giant={'1' * 100}, empty=[]):\n    return x == giant",
    "no puzzle",
]
DEFAULTS = Defaults.of(TRAIN)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        # By name first, then by type.
        ("def f(x: List[int], n: int):\n    return len(x) == n", {"n=7", "n=9"}),
        ("def f(x: List[int], k: int):\n    return len(x) == k", {"k=7", "k=9", "k=12345"}),
        ("def f(x: List[int], n: str):\n    return n in x", {"n='ab'"}),
        ("def f(x: List[int], q: list[str]):\n    return x == q", {"q=['a', 'b']"}),
        # Without a type: the train split's of that name, or what the body does.
        ("def f(x: List[int], target):\n    return sum(x) == target", {"target=1.5"}),
        ("def f(x: List[int], k):\n    return x == list(range(k))", {"k=7", "k=9", "k=12345"}),
        ("def f(x: List[int], k):\n    return len(x) >= k", {"k=7", "k=9", "k=12345"}),
        # An order that Python refuses.
        ("def f(x: int, a=3, n):\n    return x - a == n", {"a=3, n=7", "a=3, n=9"}),
        # Never used.
        ("def f(x: int, a=3, b: Foo):\n    return x - a == 1000", {"a=3"}),
        ("def f(x: int, b):\n    return x == 1000", {""}),
    ],
)
def test_an_argument_gets_what_the_train_split_shows(source, options):
    found = repaired(source, DEFAULTS)
    head, _, rest = source.partition("x: int" if "x: int" in source else "x: List[int]")
    answer = source[len(head) : len(source) - len(rest)]
    body = rest[rest.index("):") :]
    assert found in {f"{head}{answer}{', ' if option else ''}{option}{body}" for option in options}
    assert found == repaired(source, Defaults.of(TRAIN)), "the same every time"
    parse_puzzle(found)
    assert repaired(found, DEFAULTS) is None, "it has nothing more to mend"


def test_other_puzzles_get_other_defaults():
    texts = {repaired(f"def f(x: int, k: int):\n    return x - {i} == k", DEFAULTS) for i in range(40)}
    assert {text.partition(")")[0].partition("k=")[2] for text in texts if text} == {"7", "9", "12345"}


@pytest.mark.parametrize(
    "source",
    [
        TRAIN[1].replace("return s", "return target > 1 and s"),
        "def f(x: int):\n    return x == 1000",
        "def f(x: List[int], k):\n    return k in x",  # anything
        "def f(x: int, k: Dict[str, int]):\n    return k['a'] == x",
        "def f(x: int, n: nonsense):\n    return n == x",
        "def f(x: int, x: int):\n    return x == 3",
        "def f(x: int, n: int, n: int):\n    return x == n",
        "def f(x: int, a: int, b: int, c: int, d: int):\n    return a + b + c + d == x",  # one too many
        "def f(x=3, n=3):\n    return x == n",
        "def f(x: int, *n):\n    return x == n",
        "def f(0, n: int):\n    return n",
        "def f(x: int, n: int",
        "def f():\n    return 1",
    ],
)
def test_what_is_whole_or_past_mending_stays(source):
    assert repaired(source, DEFAULTS) is None


def test_what_is_no_puzzle_for_another_reason_stays_none():
    found = repaired("def f(x: int, n: int):\n    return x === n", DEFAULTS)
    assert found is not None
    with pytest.raises(PuzzleError):
        parse_puzzle(found)
