"""The list of guesses: deterministic, bounded, well formed, of the right type, as strong as it is said."""

import ast
import os
import time
from pathlib import Path

import pytest

from t5x_selfprog.evaluation.enumerator import LIMIT, default_type, guesses
from t5x_selfprog.evaluation.evaluation import GuessedProblem
from verifier import Limits, Pool
from verifier.language.answer_types import compile_checker, parse_type
from verifier.language.puzzle import parse_puzzle, solution_header

P3 = Path(os.environ.get("SELFPROG_P3_DIR", "../shared/data/p3"))
# fmt: off
TYPES = (
    "int", "str", "float", "bool", "bytes", "complex", "List[int]", "List[str]", "List[bool]", "List[float]",
    "List[List[int]]", "List[List[str]]", "List[List[List[int]]]", "Tuple[int, str]", "Tuple[int, ...]",
    "Dict[str, int]", "Dict[str, List[int]]", "Set[int]", "Optional[int]", "List[Tuple[int, int]]", "Union[int, str]",
)
# fmt: on
ARGUMENTS = "a=3, b=-5, s='hello', t='a b', li=[3, 1, 2], ls=['x', 'yy'], m=[[1, 2], [3]], x=2.5, flag=True"


def expressions(source: str, limit: int = LIMIT) -> list[str]:
    found = guesses(parse_puzzle(source), limit)
    return [solution.split("\n    return ", 1)[1] for solution in found]


@pytest.mark.parametrize("answer_type", TYPES)
@pytest.mark.parametrize("arguments", ["", ARGUMENTS])
def test_every_type_has_distinct_well_formed_guesses(answer_type, arguments):
    puzzle = parse_puzzle(f"def f(answer: {answer_type}, {arguments}):\n    return answer")
    found = guesses(puzzle)
    assert 1 <= len(found) <= LIMIT and len(set(found)) == len(found)
    assert found == guesses(puzzle)
    for solution in found:
        ast.parse(solution)
        assert solution.startswith(solution_header(puzzle) + "\n    return ")
        assert "$" not in solution and "#" not in solution


@pytest.mark.parametrize("answer_type", TYPES)
def test_guesses_are_of_the_answers_type(answer_type):
    """Some raise, and the root of -5 is complex; what they return has the type, nearly always."""
    puzzle = parse_puzzle(f"def f(answer: {answer_type}, {ARGUMENTS}):\n    return answer")
    check = compile_checker(parse_type(puzzle.answer_type))
    returned, right = 0, 0
    for solution in guesses(puzzle):
        scope: dict = {}
        exec(solution, scope)
        try:
            answer = scope["g"]()
        except Exception:
            continue
        returned += 1
        right += check(answer)
    assert returned >= 1 and right >= 0.9 * returned


@pytest.mark.parametrize(
    ("source", "solution"),
    [
        ("def f(x: int, a=17, b=4):\n    return x + b == a", "a - b"),
        ("def f(x: int, b=4, a=17):\n    return x + b == a", "a - b"),
        ("def f(t: str, word='abc'):\n    return t[::-1] == word", "word[::-1]"),
        ("def f(li: List[int], n=9):\n    return li == list(range(n))", "list(range(n))"),
        ("def f(li: List[str], text='a b c'):\n    return ' '.join(li) == text", "text.split()"),
        ("def f(m: List[List[int]], grid=[[1, 2], [3, 4]]):\n    return m", "[list(x) for x in zip(*grid)]"),
    ],
)
def test_knows_the_obvious(source, solution):
    assert solution in expressions(source)


def test_many_arguments_crowd_nothing_out():
    arguments = ", ".join(f"a{i}={i}" for i in range(40))
    start = time.perf_counter()
    found = expressions(f"def f(x: int, {arguments}):\n    return x == a3")
    assert time.perf_counter() - start < 2
    assert "a0" in found and "a0 * a1" in found and "0" in found and "10" in found


def test_repeated_holes_repeat():
    found = expressions("def f(x: float, u=[1.0, 2.0], v=[3.0]):\n    return x > 0", limit=200)
    assert "sum(u) / len(u)" in found and "sum(u) / len(v)" not in found


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("3", "int"),
        ("-2.5", "float"),
        ("True", "bool"),
        ("[]", "List[int]"),
        ("[1, 2.5]", "List[float]"),
        ("[[1], []]", "List[List[int]]"),
        ("[[1], ['a']]", ""),
        ("{'a': 1}", ""),
        ("10 ** 6", "int"),
        ("1 / 3", "float"),
        ("'ab' * 50", "str"),
        ("sorted([2, 1])", ""),
        ("None", ""),
    ],
)
def test_types_of_defaults(source, name):
    assert default_type(source) == name


def test_a_default_is_never_computed():
    start = time.perf_counter()
    assert default_type("9 ** 9 ** 9 ** 9") == "int"
    assert time.perf_counter() - start < 1


def test_rank_is_that_of_the_first_right_guess():
    assert GuessedProblem.of("id", "P", "rest", [False, True, False, True]) == GuessedProblem(
        "id", "P", "rest", 4, 2, 2
    )
    assert GuessedProblem.of("id", "P", "rest", [False]).rank is None


@pytest.mark.slow
def test_solves_what_the_documentation_says_of_p3():
    if not P3.is_dir():
        pytest.skip(f"{P3} is not here; set SELFPROG_P3_DIR to P3's folder")
    from t5x_selfprog.puzzles.p3 import in_split, load_problems

    problems = in_split(load_problems(P3), "test")
    items = [
        {"puzzle": problem.source, "solution": guess, "index": index}
        for index, problem in enumerate(problems)
        for guess in guesses(parse_puzzle(problem.source))
    ]
    accepted: list[list[bool]] = [[] for _ in problems]
    with Pool(workers=2, limits=Limits(cpu_s=0.3)) as pool:
        for item, verdict in zip(items, pool.judge(items), strict=True):
            accepted[item["index"]].append(verdict.outcome == "accepted")
    rows = [
        GuessedProblem.of(problem.puzzle_id, problem.name, problem.group, right)
        for problem, right in zip(problems, accepted, strict=True)
    ]
    assert 40 <= sum(row.rank is not None for row in rows) <= 60
