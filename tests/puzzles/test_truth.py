"""A puzzle that can never return True is told by its form, and none that can is mistaken for one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t5x_selfprog.puzzles.p3 import load_problems
from t5x_selfprog.puzzles.rules import Kept, PuzzleRules, Rejected, check, paper_rules

ANY = PuzzleRules(test_match=None, train_match=None)


def refused(source: str) -> bool:
    found = check(source, ANY)
    return isinstance(found, Rejected) and found.reason == "never_true"


@pytest.mark.parametrize(
    "body",
    [
        "return x * a",
        "return -x if x else len(str(a))",
        "return [y == a for y in range(x)]",
        "return x",
        "return a + x and x",
        "return (y := x + a)",
        "return f'{x == a}'",
        "return str(x)[1:]",
        "return str(x).count('1') or 3",
        "return False or x % a",
        "n = x\n    n += a\n    return n",
        "n = m = x * a\n    for i in range(a):\n        n = n * 2 + m\n    return n",
        "if x == a:\n        return None\n    return x - a",
        "ok = False\n    return x - a + ok",
        "return (x == a) & x",
        "def add(y):\n        return y == a\n    return x + add(x)",
        "return 1 if x == a else 0",
        "a = [a]\n    return a + [x]",
    ],
)
def test_a_value_that_is_no_bool_is_never_true(body: str) -> None:
    source = f"def f(x: int, a=3):\n    assert a\n    {body}"
    assert refused(source)
    assert isinstance(check(source, paper_rules()), Kept)


@pytest.mark.parametrize(
    "body",
    [
        "return x == a",
        "return x * a and x > a",
        "return x - a or not x",
        "return x + a if x < 0 else x > a",
        "return (x > a) ^ (x < 9)",
        "return max(x == a, False)",
        "return all([x, a])",
        "n = x\n    n = n == a\n    return n",
        "n = 0\n    for n in [x == a]:\n        pass\n    return n",
        "m, n = x, x == a\n    return n",
        "n = 0\n    def set_it():\n        nonlocal n\n        n = x == a\n    set_it()\n    return n",
        "if x == a:\n        return True\n    return x - a",
        "return (lambda: x == a)()",
        "len = lambda y: y == [a]\n    return len([x])",
        "return [x == a][0]",
        "return {x: x == a}.get(x)",
        "n = x\n    [n := y == a for y in range(x)]\n    return n",
        "n: int = x == a\n    return n",
        "n = 1\n    n |= x\n    n = True\n    return n and x == a",
        "match [x == a]:\n        case [n]:\n            return n\n    return 0 * x",
        "try:\n        return 1 // (x - a)\n    except ZeroDivisionError:\n        return x == a",
    ],
)
def test_a_value_that_may_be_true_is_let_through(body: str) -> None:
    assert not refused(f"def f(x: int, a=3):\n    {body}")


@pytest.mark.parametrize(
    ("argument", "value", "expected"),
    [
        ("x: List[int]", "x[0]", True),
        ("x: List[List[str]]", "x[0][1]", True),
        ("x: str", "x[-1]", True),
        ("x: List[bool]", "x[0]", False),
        ("x: List[List[bool]]", "x[0][0]", False),
        ("x: List[int], a=True", "a", False),
        ("x: List[int], a=[True]", "a[x[0]]", False),
    ],
)
def test_elements_of_the_answer_are_of_its_type(argument: str, value: str, expected: bool) -> None:
    used = "" if "x" in value else "    assert x\n"
    assert refused(f"def f({argument}):\n{used}    return {value}") == expected


def joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two = st.tuples(inner, inner)
    return st.one_of(
        *(
            two.map(lambda pair, form=form: form.format(*pair))
            for form in ("({} and {})", "({} or {})", "({} & {})", "({} | {})", "({} ^ {})", "({} + {})", "({} == {})",
                         "max({}, {})", "[{}, {}][0]", "({0} if {1} else {0})", "(y := {}) or {}", "sum([{}, {}])")
        ),
        inner.map(lambda text: f"(not {text})"),
        inner.map(lambda text: f"len([{text}])"),
    )  # fmt: skip


EXPRESSIONS = st.recursive(
    st.sampled_from(["x", "a", "b", "y", "0", "1", "True", "False"]), joined, max_leaves=6
)


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS, EXPRESSIONS, st.booleans())
def test_what_is_refused_does_not_return_true(first: str, second: str, changed: bool) -> None:
    step = "    y += 1\n" if changed else ""
    source = f"def f(x: int, a=2, b=True):\n    y = 0\n    y = {first}\n{step}    return {second} if x else {first}"
    names: dict = {}
    exec(source, names)
    assert not (refused(source) and any(true(names["f"], answer) for answer in (0, 1, 2)))


def true(function: Callable[[int], object], answer: int) -> bool:
    try:
        return function(answer) is True
    except TypeError:  # a list and a number were added
        return False


def test_no_published_puzzle_is_refused(p3_dir) -> None:
    assert not [problem.name for problem in load_problems(p3_dir) if refused(problem.source)]
