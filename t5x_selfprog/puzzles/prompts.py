"""The texts a model sees (puzzle and solve prompts, training pairs) and the way back from what it writes.

A model is asked at evaluation exactly as it was trained: a solve prompt is a beginning of a training pair,
and the pair's layout is written once, in `pair_text`.

Prompts end at a token boundary. Byte-pair vocabularies glue a space to the word after it, so a prompt that
ends in one asks for a continuation never seen in training; `def f3(` and `def g():` end in punctuation,
which stands alone in most vocabularies. Where one glues a newline to that, `solve_prompt` moves the end
behind the newline.

Randomness is a pure function of a key, a tuple such as (run seed, iteration, prompt index): every puzzle
gets a hash of the key and of itself, and the lowest come first. Adding or reordering puzzles does not
reshuffle the rest.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from t5x_selfprog.puzzles.p3 import Problem, load_problems, tutorial_problems
from t5x_selfprog.puzzles.source import (
    SourceError,
    annotate_return,
    cut_at_unindented,
    end_of_first_function,
    normalise_solution,
    rename_definition,
    rename_function,
)
from verifier.errors import UserError
from verifier.puzzle import PuzzleError, parse_puzzle, solution_header

BLANK_LINE = "\n\n"
NO_TUTORIAL = "none"
_CHECK = "assert f(g())"
_AMBIGUOUS = re.compile(r"\"\"\"|'''|\\\n")  # texts of several lines
_AT_MARGIN = re.compile(r"\n[^\s)\]}]")
_TYPED_HEADER = re.compile(
    r"def g\([^()]*\) -> "
)  # not every one: those with brackets among the defaults are read

CountTokens = Callable[[str], int]
Encode = Callable[[str], Sequence[int]]


# Training pairs.


def pair_text(puzzle: str, solution: str) -> str:
    """What the model trains on: `f`, blank line, `g`, blank line, `assert f(g())`; no newline at the end."""
    return BLANK_LINE.join((puzzle.strip("\n"), solution.strip("\n"), _CHECK))


def puzzle_of_pair(text: str) -> str | None:
    """The puzzle of a training pair as `pair_text` made it; None for a document of another kind.

    Blank lines, `def g(` and the check may stand inside a text of the puzzle too, so the end of its function counts.
    """
    if not text.endswith(BLANK_LINE + _CHECK):
        return None
    puzzle, found, _ = text.partition(f"{BLANK_LINE}def g(")
    if (
        found and not _AMBIGUOUS.search(text) and not _AT_MARGIN.search(puzzle)
    ):  # nearly always; else it takes a parser
        return puzzle
    end = end_of_first_function(text)
    if end is None:  # not for this Python to read: the paper's judge ran on an older one
        return puzzle if found else None
    rest, _, solution = text[end:].partition(BLANK_LINE)
    return text[:end] + rest if solution != _CHECK else None


def typed_pair(text: str) -> str:
    """A training pair as a typed `SolvePrompt` asks for it: `g` says that it returns the puzzle's answer type.

    A document of another kind, a pair that says so already, and one whose puzzle is none stay as they are.
    """
    puzzle = puzzle_of_pair(text)
    if puzzle is None:
        return text
    solution = text[len(puzzle) + len(BLANK_LINE) : -len(BLANK_LINE + _CHECK)]
    if _TYPED_HEADER.match(solution):
        return text
    try:
        answer_type = parse_puzzle(puzzle).answer_type
    except PuzzleError:
        return text
    return pair_text(puzzle, annotate_return(solution, answer_type))


def puzzle_list(sources: Iterable[str]) -> str:
    """A document of puzzles alone, numbered f1, f2, ... as in a puzzle prompt."""
    return BLANK_LINE.join(
        rename_function(source, f"f{i}").rstrip() for i, source in enumerate(sources, start=1)
    )


# Puzzle prompts.


@dataclass(frozen=True)
class Example:
    """A puzzle that may stand in a puzzle prompt; twice the weight, twice the chance to come first.

    note: a comment line above it, as of its difficulty.
    """

    puzzle_id: str
    source: str
    weight: float = 1.0
    note: str = ""


@dataclass(frozen=True)
class PuzzlePrompt:
    """`text` ends with the beginning of the puzzle asked for: `def f{number}(`, and `begun`, as of a signature."""

    text: str
    puzzle_ids: tuple[str, ...]
    number: int
    begun: str = ""


class PuzzlePrompts:
    """Draws puzzle prompts: examples in random order, renamed f1, f2, ..., as many as the budget holds."""

    MAX_SHARE = 0.25  # of the budget for one example: every prompt shows several, and no giant starves it.

    def __init__(
        self,
        examples: Iterable[Example],
        *,
        budget_tokens: int,
        count_tokens: CountTokens,
        begun: Sequence[tuple[str, str]] = (),
        note: str = "",
    ) -> None:
        """
        Args:
            budget_tokens: counts the whole prompt. Raises UserError if it holds no example at all.
            begun: beginnings of signatures by the id of the puzzle they are from (signatures.py); a prompt goes on to
                one of them, not of a puzzle that it shows.
            note: the comment line above the puzzle asked for, in prompts that show one with a note.
        """
        self._begun, self._note = begun, note
        self._count_tokens = count_tokens
        self._budget_tokens = budget_tokens
        unique = {example.puzzle_id: example for example in examples if example.weight > 0}
        costs = {
            name: count_tokens(_noted(example.note, example.source) + BLANK_LINE)
            for name, example in unique.items()
        }
        limit = budget_tokens * self.MAX_SHARE
        self._examples = [(unique[name], cost) for name, cost in costs.items() if cost <= limit]
        if not self._examples:
            shortest = f"the shortest takes {min(costs.values())} tokens" if costs else "there are none"
            raise UserError(
                f"no example puzzle fits a puzzle prompt of {budget_tokens} tokens, "
                f"of which one may take {limit:.0f}: {shortest}; raise the prompt's budget"
            )

    def draw(self, key: Sequence[int]) -> PuzzlePrompt:
        """The prompt of this key; the same for the same key, examples, budget and token counts."""
        chosen: list[Example] = []
        left = self._budget_tokens
        for example, cost in _shuffled(self._examples, key):
            if cost > left:
                break
            chosen.append(example)
            left -= cost
        prompt = self._prompt(chosen, key)
        # The sum of the parts is an estimate (f12 may be longer than f); the whole is what must fit.
        while chosen and self._count_tokens(prompt.text) > self._budget_tokens:
            chosen.pop()
            prompt = self._prompt(chosen, key)
        return prompt

    def _prompt(self, chosen: Sequence[Example], key: Sequence[int]) -> PuzzlePrompt:
        shown = {example.puzzle_id for example in chosen}
        others = [item for item in self._begun if item[0] not in shown]
        _, begun = min(others, key=lambda item: _uniform(key, f"signature {item[0]}"), default=("", ""))
        return _puzzle_prompt(chosen, begun, self._note if any(example.note for example in chosen) else "")


def examples_of(problems: Iterable[Problem]) -> list[Example]:
    """Every problem's first instance as an example of weight 1."""
    return [Example(problem.puzzle_id, problem.source) for problem in problems]


def _puzzle_prompt(examples: Sequence[Example], begun: str, note: str) -> PuzzlePrompt:
    number = len(examples) + 1
    shown = [
        _noted(example.note, rename_function(example.source, f"f{i}").rstrip())
        for i, example in enumerate(examples, start=1)
    ]
    text = BLANK_LINE.join([*shown, _noted(note, f"def f{number}({begun}")])
    return PuzzlePrompt(text, tuple(example.puzzle_id for example in examples), number, begun)


def _noted(note: str, text: str) -> str:
    return f"{note}\n{text}" if note else text


def _shuffled(examples: Sequence[tuple[Example, int]], key: Sequence[int]) -> list[tuple[Example, int]]:
    """Weighted order without replacement, by exponential variates whose rate is the weight.

    Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.
    """

    def place(item: tuple[Example, int]) -> tuple[float, str]:
        example = item[0]
        return -math.log(_uniform(key, example.puzzle_id)) / example.weight, example.puzzle_id

    return sorted(examples, key=place)


def _uniform(key: Sequence[int], name: str) -> float:
    """A number in (0, 1] that depends on nothing but its arguments."""
    text = ",".join(str(int(part)) for part in key) + "/" + name
    digest = hashlib.sha256(text.encode()).digest()
    return (int.from_bytes(digest[:7], "big") + 1) / 2**56


def puzzle_from_completion(number: int, completion: str, begun: str = "") -> str:
    """The puzzle that a model wrote after `def f{number}(` and `begun`: cut where it ends and called `f` again."""
    return rename_definition(cut_at_unindented(f"def f{number}({begun}{completion}"), "f")


# Solve prompts.


@dataclass(frozen=True)
class SolveRequest:
    """`text` is what the model continues; `header`, its end, is where the solution begins."""

    text: str
    header: str


@dataclass(frozen=True)
class SolvePrompt:
    """How solutions are asked for.

    tutorial: solved examples shown first: "seeds" for our own five, a folder in P3's format for its
    `Tutorial...`
        problems (the paper's are P3's), or "none" for the puzzle alone, as a fine-tuned model has seen it.
    max_tokens: leave out tutorial examples, first ones first, until the prompt fits; None for all of them.
    typed: the header says what the solution returns, `def g(n=3) -> str:`, here, in the tutorial and in training pairs.
        Small models answer in another type than the puzzle's more often than they are wrong in any other way.
    """

    tutorial: str = "seeds"
    max_tokens: int | None = None
    typed: bool = False

    def prepare(self, encode: Encode) -> Callable[[str], SolveRequest]:
        """Reads the tutorial once; the result makes the request for one puzzle. Raises UserError.

        `encode` is the tokenizer's own function, without special tokens.
        """
        blocks = tutorial_blocks(self.tutorial, typed=self.typed)

        def request(puzzle: str) -> SolveRequest:
            for first in range(len(blocks) + 1):
                prompt = solve_prompt(puzzle, blocks[first:], encode=encode, typed=self.typed)
                if self.max_tokens is None or len(encode(prompt.text)) <= self.max_tokens:
                    break
            return prompt

        return request


def tutorial_blocks(tutorial: str, *, typed: bool = False) -> list[str]:
    """Solved examples as training pairs. Raises UserError where the set has no solved tutorial problem."""
    if tutorial == NO_TUTORIAL:
        return []
    problems = tutorial_problems(load_problems(tutorial))
    if not problems:
        raise UserError(
            f"{tutorial}: no problem called Tutorial... with a solution; "
            f"name a set that has some, or {NO_TUTORIAL!r} for prompts without examples"
        )
    blocks = [pair_text(problem.source, problem.solutions[0]) for problem in problems]
    return [typed_pair(block) for block in blocks] if typed else blocks


def solve_prefix(prompt: SolvePrompt) -> str:
    """The text before every puzzle of a stage: the tutorial and a blank line, or nothing. Raises UserError."""
    blocks = tutorial_blocks(prompt.tutorial, typed=prompt.typed)
    return BLANK_LINE.join([*blocks, ""]) if blocks else ""


def solve_prompt(
    puzzle: str, tutorial: Sequence[str] = (), *, encode: Encode | None = None, typed: bool = False
) -> SolveRequest:
    """Tutorial pairs, the puzzle, and the header of `g`. Raises PuzzleError if `puzzle` is none.

    With `encode`, the tokenizer's own function, the prompt's end is checked to be a token boundary.
    """
    header = solution_header(parse_puzzle(puzzle), typed=typed)
    text = BLANK_LINE.join([*tutorial, puzzle.strip("\n"), header])
    if encode is not None and not ends_at_token_boundary(text, "\n    return", encode):
        text, header = f"{text}\n", f"{header}\n"
    return SolveRequest(text, header)


def ends_at_token_boundary(text: str, continuation: str, encode: Encode) -> bool:
    """Whether the tokens of `text` begin those of `text + continuation`."""
    tokens = list(encode(text))
    return list(encode(text + continuation))[: len(tokens)] == tokens


def clean_solution(header: str, completion: str) -> str:
    """The solution that a model wrote after `header`: both together, cut at the first unindented line."""
    return cut_at_unindented(header + completion)


def solution_key(solution: str) -> str | None:
    """Canonical text by which solutions of one puzzle are compared; None for text that is not Python."""
    try:
        return normalise_solution(solution)
    except SourceError:
        return None
