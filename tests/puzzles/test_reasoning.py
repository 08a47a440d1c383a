"""Tasks about programs: what is asked, what of a completion is an answer, and what the verifier says of it."""

import ast

import pytest

from t5x_selfprog.puzzles.reasoning import program, reasonings
from verifier import Pool

PROGRAM = "def g(a=3, b=[1, 2]) -> int:\n    s = 'x\\ny'\n    return a + len(b) if a < 9 else g(a - 1, b)\n"


@pytest.fixture(scope="module")
def pool():
    with Pool(workers=1) as pool:
        yield pool


def outcomes(pool, task, completions):
    return [
        v.outcome
        for v in pool.judge({"puzzle": task.puzzle, "solution": task.solution(c)} for c in completions)
    ]


def test_an_output_must_be_deduced_and_not_computed(pool):
    deduction, _ = reasonings(program(PROGRAM, 5))
    assert (
        deduction.text.endswith("else h(a - 1, b)\n\n\nassert h(3, [1, 2]) ==")
        and "a=3" not in deduction.text
    )
    right, wrong = (
        [" 5", " 5\nassert h(1, []) == 1", " (5)  # five"],
        [" 6", " 5.0", " True", " h(3, [1, 2])", "\n5", "", " 2 + 3"],
    )
    assert outcomes(pool, deduction, right) == ["accepted"] * len(right)
    assert "accepted" not in outcomes(pool, deduction, wrong)


def test_any_input_with_that_output_will_do(pool):
    _, abduction = reasonings(program(PROGRAM, 5))
    assert abduction.text.endswith("\n\n\nassert 5 == h(") and "[1, 2]" not in abduction.text
    right = ["3, [1, 2])", "4, [9])  # another", "5, [])", "2, 'abc')"]
    wrong = [
        "3, [1])",
        "3, [1, 2]",
        "h(3, [1, 2]))",
        "*[3, [1, 2]])",
        ")",
        "3)",
        "a=3, b=[1, 2])",
        "[1, 2], 3)",
    ]
    assert outcomes(pool, abduction, right) == ["accepted"] * len(right)
    assert "accepted" not in outcomes(pool, abduction, wrong)


@pytest.mark.parametrize("text", ["'a)b'", "')'", "(1, 2), {'k': [3]}", "-1.5e3"])
def test_a_call_ends_where_its_parenthesis_closes(pool, text):
    source = "def g(*rest):\n    return 1\n"
    assert program(source, 1) is None  # its arguments have no names to show
    given = program("def g(x=0, y=0):\n    return repr(x)\n", repr(ast.literal_eval(f"[{text}]")[0]))
    _, abduction = reasonings(given)
    values = f"{text}, 0" if "{" not in text else text
    assert outcomes(pool, abduction, [f"{values})"]) == ["accepted"]


@pytest.mark.parametrize(
    ("solution", "output"),
    [
        ("import os\ndef g():\n    return 1\n", 1),
        ("def g(a):\n    return a\n", 1),
        ("def g(a=list()):\n    return a\n", []),
        ("def g(a=1, *, b=2):\n    return a\n", 1),
        ("def g(:\n", 1),
        ("def g():\n    return 'x' * 300\n", "x" * 300),
        ("def g(a=1):\n    return lambda: a\n", object()),
        ("def g(a=1):\n    h = 2\n    return g(h)\n", 1),
    ],
)
def test_what_is_no_such_program_is_left_out(solution, output):
    assert program(solution, output) is None


def test_a_program_without_arguments_has_nothing_to_be_found():
    assert [task.kind for task in reasonings(program("def g():\n    return [1, 2]\n", [1, 2]))] == [
        "deduction"
    ]


def test_a_hidden_puzzle_keeps_the_output_from_the_answer(pool):
    """Expected values are in no process that a solution sees, whatever a completion contains."""
    deduction, _ = reasonings(program(PROGRAM, 5))
    cheat = "def g():\n    return f.__code__.co_consts\n"
    assert [v.outcome for v in pool.judge([{"puzzle": deduction.puzzle, "solution": cheat}])] == [
        "error:NameError"
    ]
