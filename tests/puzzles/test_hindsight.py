"""Puzzles with new targets: what changes, what stays, and what is refused."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5x_selfprog.puzzles.hindsight import Retarget, retarget
from verifier import parse_puzzle


def probed(source, answer):
    """The probe's answer; it is run without a sandbox, because the test wrote both programs."""
    space = {"List": list}
    exec(retarget(source).probe(answer), space)
    return space["g"]()


@pytest.mark.parametrize(
    ("source", "answer", "expected"),
    [
        ("def f(x: List[int], n=5):\n    return sum(x) == n", "[3, 4]", "n=7):\n    return sum(x) == n"),
        ("def f(x: int):\n    return 17  ==  x * 2 # so", "4", "x: int):\n    return 8  ==  x * 2 # so"),
        ("def f(x: str, s='é'):\n    return x[::-1] == s", "'ab'", "s='ba'):\n    return x[::-1] == s"),
        (
            "def f(x: List[int]):\n    return len(x) >= 10 and 7 > x[0]",
            "[9]",
            "return len(x) >= 1 and 10 > x[0]",
        ),
        ("def f(x: int):\n    return x > 5 and x < 3", "4", "return x > 3 and x < 5"),
        ("def f(x: int):\n    y = x + 1\n    return y * 2", "4", "y = x + 1\n    return y * 2 == 10"),
        ("def f(x: int):\n    return x if x > 1 else 0", "4", "return (x if x > 1 else 0) == 4"),
        (
            "def f(x: List[int], n=5):\n    return sum(x) == n and x[0] == -1",
            "[2, 3]",
            "sum(x) == n and x[0] == 2",
        ),
        (
            "def f(x: int, n=1):\n    if x:\n        return True\n    return x + n == 3",
            "0",
            "return x + n == 1",
        ),
    ],
)
def test_what_was_missed_becomes_the_aim(source, answer, expected):
    found = retarget(source).towards(probed(source, answer), 60)
    assert expected in found
    space = {"List": list}
    exec(found, space)
    assert space["f"](ast.literal_eval(answer)) is True
    parse_puzzle(found)


@pytest.mark.parametrize(
    "source",
    [
        "def f(x: int):\n    return x != 3",
        "def f(x: int):\n    return x in [3]",
        "def f(x: int):\n    return all(x % i for i in range(2, x))",
        "def f(x: int):\n    return not x",
        "def f(x: int):\n    return x > 1 or x == 2",
        "def f(x: int):\n    return 1 < x < 3",
        "def f(x: int):\n    return True",
        "def f(x: int):\n    return x",
        "def f(x: int):\n    return 3 == 4",
        "def f(x: int):\n    return",
        "def f(x: int):\n    if x == 3:\n        return True",
        "def f(x):\n    return x == 3",
        "def f(x: int, n=3):\n    n += 1\n    return x == n",
        "no puzzle",
    ],
)
def test_where_nothing_can_be_put_in_nothing_is(source):
    assert retarget(source) is None


@pytest.mark.parametrize(
    ("source", "values"),
    [
        ("def f(x: int):\n    return x == 3", [3]),  # as it was
        ("def f(x: int):\n    return x == 3", ["7" * 99]),  # too long
        ("def f(x: int):\n    return x == 3", [float("inf")]),
        ("def f(x: int):\n    return x == 3", [{}]),
        ("def f(x: int):\n    return x > 3", [1.5]),
        ("def f(x: int):\n    return x + 1", [True]),
        ("def f(x: List[int], n=3):\n    return len(x) == n and sum(x) == n", [1, 2]),  # n cannot be both
        ("def f(x: int):\n    return x == 3", []),
    ],
)
def test_values_that_make_no_other_puzzle_are_refused(source, values):
    assert Retarget(source).towards(values, 60) is None


def test_a_default_put_right_twice_alike_is_put_once():
    source = "def f(x: List[int], n=3):\n    return len(x) == n and sum(x) == n"
    assert Retarget(source).towards([2, 2], 60) == source.replace("n=3", "n=2")


def test_the_solution_gets_the_header_that_the_new_puzzle_asks_for():
    apart = Retarget("def f(x: List[int], n=3, m=[1]):\n    return sum(x) == n")
    new = apart.towards([9], 60)
    assert (
        apart.solution("def g(n=3, m=[1]):\n    return [n] * 3", new)
        == "def g(n=9, m=[1]):\n    return [n] * 3"
    )
    typed = apart.solution("def g(n=3, m=[1]) -> List[int]:\n    return [9]", new)
    assert typed == "def g(n=9, m=[1]) -> List[int]:\n    return [9]"
    assert apart.solution("def g(n=4, m=[1]):\n    return [9]", new) is None


@given(st.text(max_size=8), st.text(max_size=8))
def test_the_rest_of_the_text_stays_whatever_it_holds(before, answer):
    source = f"def f(x: str, s={before!r}):\n    t = {before!r}  # é\n    return t + x == s and len(x) == 777"
    found = Retarget(source).towards([before + answer, len(answer)], 400)
    assert found == source.replace(f"s={before!r}", f"s={before + answer!r}").replace(
        "== 777", f"== {len(answer)}"
    )
