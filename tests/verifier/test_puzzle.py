"""Puzzles and answer types are read from source alone, and refused with the right reason."""

import sys

import pytest

from verifier import PuzzleError, parse_puzzle
from verifier.language.answer_types import TypeSyntaxError, compile_checker, parse_type
from verifier.language.puzzle import read_puzzle, solution_header


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(x: int:\n    return x", "no_parse"),
        ("def f(x: int):\n    return x\0", "no_parse"),
        ("def f(x: int):\n    return '\ud800'\n\\", "no_parse"),
        ("def f(x: int):\n    return " + "(" * 300 + ")" * 300, "no_parse"),
        ("def f(x: int):\n    nonlocal y\n    return x", "no_parse"),
        ("def f(x: int):\n    break\n    return x", "no_parse"),
        ("", "bad_signature"),
        ("def h(x: int):\n    return x", "bad_signature"),
        ("def f(x: int):\n    return x\nf = None", "bad_signature"),
        ("async def f(x: int):\n    return x", "bad_signature"),
        ("@staticmethod\ndef f(x: int):\n    return x", "bad_signature"),
        ("def f():\n    return True", "bad_signature"),
        ("def f(x: int, y: int):\n    return True", "bad_signature"),
        ("def f(x: int = 3):\n    return x", "bad_signature"),
        ("def f(x: int, *rest):\n    return x", "bad_signature"),
        ("def f(x: int, **rest):\n    return x", "bad_signature"),
        ("def f(x: int, *, y=1):\n    return x", "bad_signature"),
        ("def f(x: int, /):\n    return x", "bad_signature"),
        ("def f(x: int, x=1):\n    return x", "bad_signature"),
        ("def f(x):\n    return x", "bad_type"),
        ("def f(x: List):\n    return x", "bad_type"),
        ("def f(x: Foo):\n    return x", "bad_type"),
        ("def f(x: List[int, str]):\n    return x", "bad_type"),
        ("def f(x: print('hello')):\n    return x", "bad_type"),
        ("def f(x: 3):\n    return x", "bad_type"),
    ],
)
def test_no_puzzle(source, reason):
    with pytest.raises(PuzzleError) as caught:
        parse_puzzle(source)
    assert caught.value.reason == reason


def test_parts():
    puzzle = parse_puzzle("def f(li: list[int], n=3, s='a\"b', m=-1):\n    return len(li) == n")
    assert (puzzle.answer_name, puzzle.answer_type) == ("li", "List[int]")
    assert [argument.name for argument in puzzle.arguments] == ["n", "s", "m"]
    assert solution_header(puzzle) == "def g(n=3, s='a\"b', m=-1):"


def test_a_typed_header_says_what_the_solution_returns():
    puzzle = parse_puzzle("def f(li: list[int | None], n=3):\n    return len(li) == n")
    assert solution_header(puzzle, typed=True) == "def g(n=3) -> List[Optional[int]]:"


def test_header_keeps_values():
    puzzle = parse_puzzle("def f(x: int, a=[1, [2.5, None]], b={'k': (1,)}, c=1e400):\n    return x == 1")
    space: dict = {}
    exec(solution_header(puzzle) + "\n    return a, b, c", space)
    assert space["g"]() == ([1, [2.5, None]], {"k": (1,)}, float("inf"))


def test_constants_longer_than_the_interpreter_allows():
    limit = sys.get_int_max_str_digits()
    puzzle = parse_puzzle(f"def f(x: int, n={'7' * 5000}):\n    return x == n")
    assert puzzle.arguments[0].default_source == "7" * 5000
    assert sys.get_int_max_str_digits() == limit


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("pass", "no_return"),
        ("return", "no_return"),
        ("def h():\n        return x\n    h()", "no_return"),
        ("return True", "answer_unused"),
        ("x = 3\n    return True", "answer_unused"),
    ],
)
def test_useless(body, reason):
    assert read_puzzle(f"def f(x: int):\n    {body}")[2] == reason


def test_use_in_a_nested_function_counts():
    assert read_puzzle("def f(x: int):\n    return all(x > y for y in range(3))")[2] == ""


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("int", "int"),
        ("list[list[int]]", "List[List[int]]"),
        ("typing.List[ 'int' ]", "List[int]"),
        ("'List[str]'", "List[str]"),
        ("int | None", "Optional[int]"),
        ("Union[int, None, int]", "Optional[int]"),
        ("Optional[Union[int, str]]", "Optional[Union[int, str]]"),
        ("Union[int, Union[str, bool]]", "Union[int, str, bool]"),
        ("Union[int]", "int"),
        ("tuple[int, ...]", "Tuple[int, ...]"),
        ("tuple[()]", "Tuple[()]"),
        ("Tuple[int, str]", "Tuple[int, str]"),
        ("dict[str, set[frozenset[bytes]]]", "Dict[str, Set[FrozenSet[bytes]]]"),
        ("complex", "complex"),
    ],
)
def test_one_spelling(written, spelled):
    assert str(parse_type(written)) == spelled
    assert str(parse_type(spelled)) == spelled


@pytest.mark.parametrize(
    "written",
    [
        "",
        "list",
        "Any",
        "os.path",
        "List[3]",
        "Dict[int]",
        "Optional[int, str]",
        "Union[()]",
        "int[int]",
        "a b",
    ],
)
def test_no_type(written):
    with pytest.raises(TypeSyntaxError):
        parse_type(written)


def test_deep_type_is_refused():
    with pytest.raises(TypeSyntaxError):
        parse_type("List[" * 50 + "int" + "]" * 50)


class OddInt(int):
    pass


class OddList(list):
    pass


@pytest.mark.parametrize(
    ("written", "good", "bad"),
    [
        ("int", [0, -1, 10**30], [True, 1.0, "1", None, OddInt(1)]),
        ("float", [0.5, float("nan")], [1, True]),
        ("bool", [True], [1, 0]),
        ("List[int]", [[], [1]], [[True], [1, 2.0], (1,), OddList(), [OddInt(1)], None]),
        ("List[List[str]]", [[], [[]], [["a"]]], [["a"], [[1]]]),
        ("Tuple[int, str]", [(1, "a")], [(1,), (1, "a", 2), ["a"], (1, 1)]),
        ("Tuple[int, ...]", [(), (1, 2)], [(1, "a")]),
        ("Tuple[()]", [()], [(1,)]),
        ("Set[int]", [set(), {1}], [{1.5}, frozenset(), []]),
        ("Dict[str, List[int]]", [{}, {"a": [1]}], [{1: [1]}, {"a": [True]}, []]),
        ("Optional[int]", [None, 3], [True, "a"]),
        ("Union[List[int], List[str]]", [[], [1], ["a"]], [[1, "a"]]),
        ("List[Optional[bool]]", [[None, True]], [[1]]),
    ],
)
def test_exact(written, good, bad):
    check = compile_checker(parse_type(written))
    assert all(check(value) for value in good)
    assert not any(check(value) for value in bad)
