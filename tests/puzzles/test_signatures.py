"""Beginnings of signatures for prompts, and signatures that Python itself cannot parse."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5x_selfprog.puzzles.prompts import Example, PuzzlePrompts, puzzle_from_completion
from t5x_selfprog.puzzles.signatures import AskedSignature, beginnings, split_signature
from verifier.errors import UserError

TEXT = "def f(s: str, word='ab', n=3):\n    return s.count(word) == n"
LISTS = "def f(x: List[List[int]], li=[1, 2], n=3):\n    return len(x) == n"
BARE = "def f(x: List[int]):\n    return len(x) == 3"
UNTYPED = "def f(x, n=3):\n    return x == n"


def count(text):
    return len(re.findall(r"\w+|[^\w\s]", text))


@pytest.mark.parametrize(
    ("source", "typed", "default"),
    [
        (TEXT, "s: str", 's: str, word="'),
        (LISTS, "x: List[List[int", "x: List[List[int]], li=["),
        (BARE, "x: List[int", "x: List[int"),
        ("def f(x: int, a=['b', 'c']):\n    return x", "x: int", 'x: int, a=["'),
        ("def f(x: int, a=[[1.5], []]):\n    return x", "x: int", "x: int, a=[["),
        ("def f(x: int, a=[]):\n    return x", "x: int", "x: int, a=["),
        ("def f(x: int, a=-3):\n    return x == a", "x: int", "x: int, a="),
        (UNTYPED, "", ""),
    ],
)
def test_a_beginning_ends_where_the_choice_is_made(source, typed, default):
    assert AskedSignature("type").beginning(source) == typed
    assert AskedSignature().beginning(source) == default


def prompts(begun):
    examples = [Example(str(i), f"def f(x: int):\n    return x * {i} == {i * i}") for i in range(1, 30)]
    return PuzzlePrompts(examples, budget_tokens=150, count_tokens=count, begun=begun)


def test_a_prompt_goes_on_to_a_beginning_and_the_puzzle_that_comes_back_has_it():
    begun = beginnings(AskedSignature(), [("t", TEXT), ("u", UNTYPED), ("broken", "def f(")])
    assert begun == [("t", 's: str, word="')]
    prompt = prompts(begun).draw((0, 0))
    assert prompt.text.endswith(f'\n\ndef f{prompt.number}(s: str, word="')
    assert count(prompt.text) <= 150
    source = puzzle_from_completion(prompt.number, 'é"):\n    return s == word\n\nx', prompt.begun)
    assert source == 'def f(s: str, word="é"):\n    return s == word'


def test_beginnings_come_as_often_as_their_puzzles_and_by_the_key_alone():
    begun = [(f"b{i}", f"x: int, a{i % 3}=") for i in range(9)]
    drawn = [prompts(begun).draw((7, i)) for i in range(600)]
    assert drawn == [prompts(begun[::-1]).draw((7, i)) for i in range(600)]
    share = sum(prompt.begun == "x: int, a0=" for prompt in drawn) / 600
    assert 0.26 < share < 0.41, "a third, standard deviation 0.019"
    without = prompts([]).draw((7, 0))
    assert without.begun == "" and without.puzzle_ids == drawn[0].puzzle_ids


def test_a_prompt_never_asks_for_the_signature_of_a_puzzle_that_it_shows():
    begun = [(str(i), f"x{i}: int") for i in range(1, 30)]
    for i in range(100):
        prompt = prompts(begun).draw((i,))
        assert prompt.begun and prompt.begun not in {f"x{name}: int" for name in prompt.puzzle_ids}


def test_an_unknown_end_is_named():
    with pytest.raises(UserError, match=r"AskedSignature.upto='names'"):
        AskedSignature("names")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("def f(x: List[int], n: int) -> bool:\n    return True", ["x", "n"]),
        ("def f(a=1, b, c=(2, [3])):\n    return b", ["a", "b", "c"]),
        ("def f(\n    s: 'str',\n    é=')',\n):\n  return é", ["s", "é"]),
        ("def f():\n  return", []),
        ("def f(x: int", None),
        ("def f(x, *args): pass", None),
        ("def f(x, 3): pass", None),
        ("def f(0, x: int): pass", None),
        ("def g(x): pass", None),
        ("x = 1", None),
        ("def f(x, '): pass", None),
        ("", None),
    ],
)
def test_a_signature_is_read_even_where_python_refuses_it(source, names):
    parts = split_signature(source)
    assert (None if parts is None else [parameter.name for parameter in parts[1]]) == names
    if parts is not None:
        assert source.startswith(parts[0]) and source.endswith(parts[2]) and parts[2].startswith(")")


@given(st.text(st.sampled_from("def f(x:int,y='[\n)]=\\3é\t"), max_size=40))
def test_no_text_is_too_odd_to_be_read(text):
    split_signature("def f(" + text)
