"""Prompts and pairs: their layout, randomness and budget, and the parsing of completions."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t5x_selfprog.puzzles.p3 import load_problems
from t5x_selfprog.puzzles.prompts import (
    Example,
    PuzzlePrompts,
    SolvePrompt,
    clean_solution,
    ends_at_token_boundary,
    examples_of,
    in_form,
    pair_text,
    puzzle_from_completion,
    puzzle_list,
    puzzle_of_pair,
    solution_key,
    solve_prefix,
    solve_prompt,
    tutorial_blocks,
    typed_pair,
)
from t5x_selfprog.puzzles.source import puzzle_id
from verifier.errors import UserError
from verifier.language.puzzle import PuzzleError

PUZZLE = "def f(x: int, a=3, b=[1, 2]):\n    return x == a + len(b)"
SOLUTION = "def g(a=3, b=[1, 2]):\n    return a + len(b)"


def words(text):
    """A stand-in for a tokenizer: words with the space before them, punctuation, newlines."""
    return re.findall(r" ?\w+| ?[^\w\s]|\s", text)


def glued(text):
    """A tokenizer that attaches a newline to the punctuation before it, as some vocabularies do."""
    return re.findall(r" ?\w+| ?[^\w\s]+\n*|\s", text)


def count(text):
    return len(words(text))


def examples(n=40):
    sources = [f"def f(x: int):\n    return x * {i} == {i * i}" for i in range(1, n + 1)]
    return [Example(puzzle_id(source), source) for source in sources]


# Pairs and solve prompts.


def test_a_pair_is_puzzle_solution_and_assertion():
    assert pair_text(PUZZLE + "\n", SOLUTION + "\n\n") == f"{PUZZLE}\n\n{SOLUTION}\n\nassert f(g())"


def test_the_puzzle_of_a_pair_comes_back_and_other_documents_have_none():
    assert puzzle_of_pair(pair_text(PUZZLE, SOLUTION)) == PUZZLE
    assert puzzle_of_pair(PUZZLE) is None
    assert puzzle_of_pair(puzzle_list([PUZZLE, PUZZLE])) is None


def test_a_list_of_puzzles_is_what_a_puzzle_prompt_shows():
    examples = [Example("a", PUZZLE), Example("b", PUZZLE.replace("==", "!="))]
    prompt = PuzzlePrompts(examples, budget_tokens=1000, count_tokens=len).draw((0,))
    listed = puzzle_list(
        next(e.source for e in examples if e.puzzle_id == name) for name in prompt.puzzle_ids
    )
    assert prompt.text == f"{listed}\n\ndef f3("


def test_a_solve_prompt_is_a_beginning_of_training_pairs():
    tutorial = [pair_text("def f(x: int):\n    return x == 1", "def g():\n    return 1")]
    request = solve_prompt(PUZZLE, tutorial)
    assert "\n\n".join([*tutorial, pair_text(PUZZLE, SOLUTION)]).startswith(request.text)
    assert request.text.endswith("\n\ndef g(a=3, b=[1, 2]):")
    assert solve_prompt(PUZZLE).text == f"{PUZZLE}\n\n{request.header}"


def test_what_comes_back_is_the_solution():
    request = solve_prompt(PUZZLE)
    completion = "\n    return a + len(b)\n\nassert f(g())\n\ndef f(x: str):"
    assert clean_solution(request.header, completion) == SOLUTION


def test_a_solve_prompt_ends_at_a_token_boundary_of_either_vocabulary():
    for encode in (words, glued):
        request = solve_prompt(PUZZLE, encode=encode)
        assert ends_at_token_boundary(request.text, "\n    return a"[request.text.endswith("\n") :], encode)
        assert request.text.endswith(request.header)
        completion = pair_text(PUZZLE, SOLUTION)[len(request.text) :]
        assert clean_solution(request.header, completion) == SOLUTION
    assert not ends_at_token_boundary("def f( ", "x", words)


def test_a_solve_prompt_needs_a_puzzle():
    with pytest.raises(PuzzleError):
        solve_prompt("def h(x: int): return x")


@pytest.mark.parametrize("said", [PUZZLE, PUZZLE.replace("):", ") -> int:", 1)])
@pytest.mark.parametrize("typed", [False, True])
def test_a_prompt_whose_puzzle_says_bool_is_a_beginning_of_pairs_that_say_it(typed, said):
    form = SolvePrompt(typed=typed, returns=True)
    request = solve_prompt(said, form=form)
    pair = in_form(pair_text(said, SOLUTION), form)
    assert pair.startswith(request.text) and pair.count("->") == 1 + typed
    assert puzzle_of_pair(pair) == PUZZLE.replace("):", ") -> bool:", 1)
    assert in_form(pair, form) == pair and in_form("# a list\n\n" + PUZZLE, form) == "# a list\n\n" + PUZZLE


def test_integers_of_any_length_reach_the_prompt():
    huge = "7" * 6000
    assert solve_prompt(f"def f(x: int, a={huge}): return x == a").header == f"def g(a={huge}):"


def test_a_typed_prompt_is_a_beginning_of_typed_pairs():
    tutorial = [
        typed_pair(pair_text("def f(x: list[str]):\n    return x == ['a']", "def g():\n    return ['a']"))
    ]
    assert tutorial[0].splitlines()[3] == "def g() -> List[str]:"
    request = solve_prompt(PUZZLE, tutorial, form=SolvePrompt(typed=True))
    assert request.text.endswith("\n\ndef g(a=3, b=[1, 2]) -> int:")
    assert "\n\n".join([*tutorial, typed_pair(pair_text(PUZZLE, SOLUTION))]).startswith(request.text)
    completion = "\n    return a + len(b)\n\nassert f(g())"
    typed = clean_solution(request.header, completion)
    assert solution_key(typed) == solution_key(SOLUTION)
    assert typed_pair(pair_text(PUZZLE, typed)) == typed_pair(pair_text(PUZZLE, SOLUTION))
    assert puzzle_of_pair(pair_text(PUZZLE, typed)) == PUZZLE


@pytest.mark.parametrize(
    "document", [puzzle_list([PUZZLE, PUZZLE]), PUZZLE, pair_text("def f(x):\n    return x", SOLUTION)]
)
def test_what_has_no_answer_type_to_say_stays_as_it_is(document):
    assert typed_pair(document) == document


@pytest.mark.parametrize(
    ("solution", "typed"),
    [
        ("def g():\n    return {1: 2}[1]", "def g() -> int:\n    return {1: 2}[1]"),
        (
            "def g(a=[1][:1], b='):'):  # def\n    return 1",
            "def g(a=[1][:1], b='):') -> int:  # def\n    return 1",
        ),
        ("def g(a=(lambda x: x)):\n    return 1", "def g(a=(lambda x: x)) -> int:\n    return 1"),
        ("def g(\n    a=3,\n):\n    return a", "def g(\n    a=3,\n) -> int:\n    return a"),
        ("def g(a=3) -> str:\n    return a", "def g(a=3) -> str:\n    return a"),
        ("def g(a='é'): return a", "def g(a='é') -> int: return a"),
        ("def g(a=3", "def g(a=3"),
        ("def g():\n    return (", "def g() -> int:\n    return ("),
    ],
)
def test_the_type_stands_before_the_colon_that_ends_the_signature(solution, typed):
    puzzle = "def f(x: int):\n    return x == 3"
    assert typed_pair(pair_text(puzzle, solution)) == pair_text(puzzle, typed)


def tutorial_set(folder):
    names = ["TutorialOne", "TutorialTwo", "Other", "TutorialUnsolved"]
    entries = [
        {
            "name": f"{name}:0",
            "sat": f"def sat(x: int):\n    return x == {i}",
            "ans_type": "int",
            "sol_header": "def sol():",
            "sol_docstring": '    """What?"""',
            "sol_bodies": [] if name == "TutorialUnsolved" else [f"    return {i}"],
            "module": "m",
        }
        for i, name in enumerate(names)
    ]
    (folder / "puzzles.json").write_text(json.dumps(entries))
    (folder / "split.json").write_text("{}")
    return str(folder)


def test_the_tutorial_is_the_sets_solved_tutorial_problems(tmp_path):
    blocks = tutorial_blocks(SolvePrompt(tutorial_set(tmp_path)))
    assert blocks == [
        f"def f(x: int):\n    return x == {i}\n\ndef g():\n    return {i}\n\nassert f(g())" for i in (0, 1)
    ]
    assert tutorial_blocks(SolvePrompt("none")) == []
    typed = [block.replace("def g():", "def g() -> int:") for block in blocks]
    assert tutorial_blocks(SolvePrompt(tutorial_set(tmp_path), typed=True)) == typed
    assert solve_prefix(SolvePrompt(str(tmp_path), typed=True)) == "\n\n".join([*typed, ""])
    said = [block.replace("(x: int):", "(x: int) -> bool:") for block in typed]
    assert tutorial_blocks(SolvePrompt(str(tmp_path), typed=True, returns=True)) == said


def test_a_set_without_tutorial_is_refused(tmp_path):
    tutorial_set(tmp_path)
    kept = [
        entry for entry in json.loads((tmp_path / "puzzles.json").read_text()) if entry["name"] == "Other:0"
    ]
    (tmp_path / "puzzles.json").write_text(json.dumps(kept))
    with pytest.raises(UserError, match="no problem called Tutorial"):
        solve_prefix(SolvePrompt(tutorial=str(tmp_path)))


def test_a_stages_prefix_and_a_puzzles_prompt_make_up_the_whole_prompt(tmp_path):
    folder = tutorial_set(tmp_path)
    whole = solve_prompt(PUZZLE, tutorial_blocks(SolvePrompt(folder)), encode=words)
    assert solve_prefix(SolvePrompt(folder)) + solve_prompt(PUZZLE, encode=words).text == whole.text
    assert whole.text.endswith(whole.header)
    assert solve_prefix(SolvePrompt("none")) == ""


# Puzzle prompts.


def test_a_puzzle_prompt_numbers_its_examples_and_ends_in_the_next_signature():
    prompt = PuzzlePrompts(examples(), budget_tokens=150, count_tokens=count).draw((1, 2, 3))
    blocks = prompt.text.split("\n\n")
    assert blocks[-1] == f"def f{prompt.number}("
    assert len(blocks) == prompt.number == len(prompt.puzzle_ids) + 1 > 3
    by_id = {example.puzzle_id: example.source for example in examples()}
    for i, (block, identity) in enumerate(zip(blocks, prompt.puzzle_ids, strict=False), start=1):
        assert block == by_id[identity].replace("def f(", f"def f{i}(")


@given(st.integers(100, 400), st.tuples(st.integers(0, 2**63), st.integers(0, 9), st.integers(0, 99)))
def test_a_puzzle_prompt_fills_its_budget_and_never_exceeds_it(budget_tokens, key):
    prompts = PuzzlePrompts(examples(), budget_tokens=budget_tokens, count_tokens=count)
    prompt = prompts.draw(key)
    assert count(prompt.text) <= budget_tokens
    assert count(prompt.text) + 2 * max(
        count(example.source) + 2 for example in examples()
    ) > budget_tokens or (len(prompt.puzzle_ids) == 40)


def test_a_draw_is_a_function_of_its_key_and_the_set_of_examples():
    one = PuzzlePrompts(examples(), budget_tokens=150, count_tokens=count)
    other = PuzzlePrompts(reversed(examples()), budget_tokens=150, count_tokens=count)
    drawn = [one.draw((7, 0, i)) for i in range(20)]
    assert drawn == [other.draw((7, 0, i)) for i in reversed(range(20))][::-1]
    assert len({prompt.text for prompt in drawn}) == 20
    assert one.draw((7, 1, 0)) != one.draw((7, 0, 1)) != one.draw((70, 1))


def test_the_draw_of_a_key_never_changes():
    """Runs resumed with a later version must get the same prompts as before."""
    prompt = PuzzlePrompts(examples(), budget_tokens=120, count_tokens=count).draw((0, 0, 0))
    assert re.findall(r"== (\d+)", prompt.text) == ["324", "4", "81", "256", "25"]


def test_every_example_gets_its_turn_and_weights_count():
    weighted = [
        Example(e.puzzle_id, e.source, weight=3.0 if i < 10 else 1.0) for i, e in enumerate(examples())
    ]
    prompts = PuzzlePrompts(weighted, budget_tokens=100, count_tokens=count)
    first = [prompts.draw((i,)).puzzle_ids[0] for i in range(2000)]
    assert set(first) == {example.puzzle_id for example in weighted}
    heavy = {example.puzzle_id for example in weighted[:10]}
    # Expected 3 * 10 / (3 * 10 + 30) = 1/2, standard deviation 0.011.
    assert 0.44 < sum(identity in heavy for identity in first) / 2000 < 0.56


def test_a_giant_never_enters_and_weightless_examples_neither():
    giant = Example("giant", "def f(x: int):\n    return x in " + repr(list(range(500))))
    absent = Example("absent", "def f(x: int):\n    return x == 0", weight=0.0)
    prompts = PuzzlePrompts([giant, absent, *examples(5)], budget_tokens=150, count_tokens=count)
    assert all(set(prompts.draw((i,)).puzzle_ids) == {e.puzzle_id for e in examples(5)} for i in range(50))


@pytest.mark.parametrize(
    ("given_examples", "complaint"), [(examples(), "the shortest takes"), ([], "there are none")]
)
def test_a_budget_that_holds_no_example_is_refused(given_examples, complaint):
    with pytest.raises(UserError, match=f"no example puzzle fits a puzzle prompt of 20 tokens.*{complaint}"):
        PuzzlePrompts(given_examples, budget_tokens=20, count_tokens=count)


def test_examples_of_problems(tmp_path):
    problems = load_problems(tutorial_set(Path(tmp_path)))
    assert [(example.puzzle_id, example.source, example.weight) for example in examples_of(problems)] == [
        (problem.puzzle_id, problem.source, 1.0) for problem in problems
    ]


@pytest.mark.parametrize(
    ("completion", "puzzle"),
    [
        ("x: int):\n    return x == 1\n\ndef f8(y", "def f(x: int):\n    return x == 1"),
        ("x: int, d=2):\n    return f7(x, d - 1)", "def f(x: int, d=2):\n    return f(x, d - 1)"),
        ("x: int):\n    return f6(x)", "def f(x: int):\n    return f6(x)"),
        ("x: int:\n    return f7(x", "def f(x: int:\n    return f7(x"),
        ("", "def f("),
    ],
)
def test_a_completion_becomes_a_puzzle_called_f(completion, puzzle):
    assert puzzle_from_completion(7, completion) == puzzle


def test_solutions_are_compared_by_what_they_do_not_how_they_are_laid_out():
    spaced = 'def g(a = 3, b: List[int] = [1,2]):\n    """So."""\n    return (a+len(b)) # sum'
    assert solution_key(spaced) == solution_key(SOLUTION)
    assert solution_key(SOLUTION) != solution_key(SOLUTION.replace("+", "-"))
    assert solution_key("def g(:") is None
