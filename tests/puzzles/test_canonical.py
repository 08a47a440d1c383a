"""The canonical form: what a copy may be dressed in does not show, what it computes does."""

import pytest

from t5x_selfprog.evaluation.disguises import KINDS, disguise
from t5x_selfprog.puzzles.canonical import canonical_form, outline_tokens
from t5x_selfprog.puzzles.source import SourceError
from verifier.language.leniency import lenient_python

PUZZLE = (
    "def f(words: List[str], n=3, c='e', m=2):\n"
    "    return len(words) == n * m and all(w.count(c) == i for i, w in enumerate(words)) and len(words[0]) > n"
)
EQUATION = "def f(x: int, a=3):\n    return x * x + a == 2 * x * a - 2"
LOOP = "def f(s: str, t='ab'):\n    best = sorted(s)\n    return all(s.count(x) >= 2 for x in t)"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", [PUZZLE, LOOP, EQUATION])
def test_a_disguise_does_not_show(source, kind):
    copy = disguise(source, kind)
    if copy is None:
        assert any(word in kind for word in ("early", "loop", "demorgan", "difference"))
    else:  # where the parameters are gone, the forms without them are compared
        assert canonical_form(copy, "inlined" in kind) == canonical_form(source, "inlined" in kind), copy


def test_no_two_disguises_are_the_same_and_every_one_applies_somewhere():
    for kind in KINDS:
        assert any(disguise(source, kind) for source in (PUZZLE, LOOP, EQUATION)), kind
    copies = [copy for kind in KINDS if (copy := disguise(PUZZLE, kind)) is not None]
    assert len(set(copies)) == len(copies)


def test_a_default_is_a_constant_only_where_it_is_never_set():
    counted = "def f(x: int, n=3, m=4):\n    n += x\n    return n == m"
    assert "v1 += v0" in canonical_form(counted, True)
    assert canonical_form(counted, True) == canonical_form(
        "def f(y: int, k=3):\n    k += y\n    return 4 == k", True
    )
    assert canonical_form(counted, True) != canonical_form(counted.replace("n == m", "n == n"), True)


@pytest.mark.parametrize(
    "inside",
    [
        "def h():\n        return x == a\n    return h()",
        "def h(y, b):\n        return y == b\n    return h(x, a)",
        "h = lambda y: y == a\n    return h(x)",
        "def h(a, x):\n        return x == a\n    return h(a, x)",
    ],
)
def test_a_function_inside_that_holds_all_of_it(inside):
    head = "def f(x: int, a=5):\n    "
    assert canonical_form(head + inside) == canonical_form(f"{head}return a == x")


@pytest.mark.parametrize(
    "inside",
    [
        "def h(n):\n        return n < 2 or h(n - 2)\n    return h(x)",  # calls itself
        "def h(n=1):\n        return n == a\n    return h()",
        "def h(n):\n        return n == a\n    return h(x) and h(a)",
        "def h(*n):\n        return n == a\n    return h(*x)",
        "def h(n):\n        n += 1\n        return n == a\n    return h(x)",
        "def h(n):\n        return all(n == a for n in [n])\n    return h(x)",
    ],
)
def test_a_function_inside_that_is_more_than_that_stays(inside):
    assert "def v" in canonical_form("def f(x: int, a=5):\n    " + inside)


@pytest.mark.parametrize(
    "other",
    [
        "len(words) == n + m and all(w.count(c) == i for i, w in enumerate(words)) and len(words[0]) > n",
        "len(words) == n * m and any(w.count(c) == i for i, w in enumerate(words)) and len(words[0]) > n",
        "len(words) == n * m and all(w.count(c) == i for i, w in enumerate(words)) and len(words[0]) >= n",
        "len(words) == n * m and all(w.count(c) != i for i, w in enumerate(words)) and len(words[0]) > n",
        "len(words) == n * m or all(w.count(c) == i for i, w in enumerate(words)) or len(words[0]) > n",
        "len(words) == n * n and all(w.count(c) == i for i, w in enumerate(words)) and len(words[0]) > n",
        "not len(words) == n * m and all(w.count(c) == i for i, w in enumerate(words)) and len(words[0]) > n",
        "len(words) == n * m and all(w.index(c) == i for i, w in enumerate(words)) and len(words[0]) > n",
        "len(words) - n == m and all(w.count(c) == i for i, w in enumerate(words)) and len(words[0]) > n",
    ],
)
def test_another_computation_shows(other):
    assert canonical_form(f"def f(words: List[str], n=3, c='e', m=2):\n    return {other}") != canonical_form(
        PUZZLE
    )


def test_the_type_of_the_answer_shows():
    assert canonical_form(PUZZLE) != canonical_form(PUZZLE.replace("List[str]", "List[int]", 1))


@pytest.mark.parametrize(
    ("written", "form"),
    [
        ("return not (x > 3 or not x == a)", "x_3 and x_a"),
        ("if x > 3:\n        return False\n    return x == a", "x_3 and x_a"),
        ("if x <= 3:\n        return x == a\n    else:\n        return False", "x_3 and x_a"),
        ("y = x\n    z = y <= 3\n    assert bool(z) is True\n    return (a == x) == True", "x_3 and x_a"),
        ("return 3 >= x and not not a + 0 == 1 * x", "x_3 and x_a"),
        ("return False if x != a else True if x <= 3 else False", "x_3 and x_a"),
        ("for y in [x]:\n        if y > 3:\n            return False\n    return a == x", "loop"),
        ("return not any([y > 3 for y in [x]]) and x == a", "loop"),
    ],
)
def test_many_ways_to_say_one_thing(written, form):
    plain = {
        "x_3 and x_a": "return x <= 3 and x == a",
        "loop": "return all(y <= 3 for y in [x]) and x == a",
    }[form]
    head = "def f(x: int, a=5):\n    "
    assert canonical_form(head + written) == canonical_form(head + plain)


def test_parameters_are_told_apart_by_what_they_do_not_by_their_place():
    one = "def f(x: int, a=1, b=2):\n    return x + a + b == a * x and b < x"
    other = "def f(x: int, q=1, p=2):\n    return q < x and x * p == q + p + x"
    wired_otherwise = "def f(x: int, a=1, b=2):\n    return x + a + b == b * x and b < x"
    assert canonical_form(one) == canonical_form(other) != canonical_form(wired_otherwise)


def test_a_variable_of_more_uses_or_values_stays():
    twice = "def f(x: int):\n    y = x + 1\n    return y * y == 4"
    assert canonical_form(twice) != canonical_form("def f(x: int):\n    return (x + 1) * (x + 1) == 4")
    counted = "def f(x: int):\n    y = 0\n    y += x\n    return y == 4"
    assert "+=" in canonical_form(counted)


def test_form_is_readable_and_stable():
    form = canonical_form(PUZZLE)
    assert form.startswith("def f(v0: List[str], ") and "<int>" in form
    outline = outline_tokens(PUZZLE)
    assert outline[0] == "return" and {"v", "==", "all", "count"} <= set(outline) and "v0" not in outline


def test_text_that_is_no_function_or_too_deep():
    with pytest.raises(SourceError):
        canonical_form("x = 3")
    with pytest.raises(SourceError):
        canonical_form("def f(")
    try:
        assert canonical_form(
            "def f(x: int):\n    if x: pass\n" + "    elif x: pass\n" * 350 + "    return x"
        )
    except SourceError as error:
        assert "deep" in str(error) or "Recursion" in str(error)


def test_the_disguised_accept_the_same():
    for source, right, wrong in (
        (PUZZLE, ["xxxx", "e", "ee", "eee", "eeee", "eeeee"], ["xxxx"]),
        (LOOP, "aabb", "ab"),
        (EQUATION, 5, 2),
    ):
        for kind in KINDS:
            copy = disguise(source, kind)
            if copy is None or "constants" in kind:
                continue
            for answer in (right, wrong):
                said = []
                for text in (source, copy):
                    space: dict = {"List": list}
                    with lenient_python():
                        exec(text, space)
                    try:
                        said.append(space["f"](answer) is True)
                    except Exception:
                        said.append(False)
                assert said == [answer is right] * 2, (kind, copy, answer)
