"""Documents of a mistake and its correction are programs, but not pairs."""

from t5x_selfprog.puzzles.fixes import fix_text, fixes
from t5x_selfprog.puzzles.prompts import puzzle_of_pair

PUZZLE = "def f(x: str, n=3):\n    return x == str(n)"
RIGHT = "def g(n=3):\n    return str(n)"


def verdict(solution, outcome, detail=""):
    return {
        "puzzle": PUZZLE,
        "solution": f"def g(n=3):\n    {solution}\n",
        "outcome": outcome,
        "detail": detail,
    }


def test_a_fix_is_a_program_that_holds_and_no_pair():
    wrong = "def g(n=3):\n    s = 'a\n\n    return s + n"
    text = fix_text(PUZZLE + "\n", wrong, "error:TypeError", 'can only\nconcatenate "é"', RIGHT + "\n")
    assert text == (
        f'{PUZZLE}\n\n# assert f(g()): TypeError can only concatenate "é"\n'
        f"# def g(n=3):\n#     s = 'a\n#\n#     return s + n\n{RIGHT}"
    )
    exec(text + "\n\nassert f(g())", {})
    assert puzzle_of_pair(text) is None


def test_one_of_each_kind_of_failure_with_the_shortest_right_solution():
    verdicts = [
        verdict("return str(n) + ''", "accepted"),
        verdict("return str(n)", "accepted"),
        *(verdict(f"return {i}", "wrong_type") for i in range(9)),
        verdict("return m", "error:NameError", "name 'm' is not defined"),
        verdict("return 1", "infrastructure"),
    ]
    found = list(fixes(verdicts))
    assert [text.split("\n")[3] for text in found] == [
        "# assert f(g()): NameError name 'm' is not defined",
        "# assert f(g()): wrong_type",
    ]
    assert all(text.endswith(f"\n{RIGHT}") for text in found)
    assert found == list(fixes(verdicts[::-1])), "the order of attempts says nothing"
    assert list(fixes(verdicts[2:])) == []
