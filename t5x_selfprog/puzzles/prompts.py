"""The texts that a model sees (puzzle and solve prompts, training pairs), and how its completions are parsed.

Evaluation prompts look exactly like training data: a solve prompt is a prefix of a training pair, and only `pair_text`
defines the layout of a pair.

Prompts end at a token boundary. Byte-pair vocabularies attach a space to the word after it, so a prompt that ends in a
space asks for a continuation never seen in training. `def f3(` and `def g():` end in punctuation, which is a token of
its own in most vocabularies. Where a vocabulary attaches a newline to it, `solve_prompt` ends after the newline.

Randomness is a pure function of a key, a tuple such as (run seed, iteration, prompt index): puzzles are ordered by a
hash of the key and the puzzle. Adding or reordering puzzles does not reshuffle the others.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from t5x_selfprog.puzzles.p3 import Problem, load_problems, tutorial_problems
from t5x_selfprog.puzzles.question import solution_of_answer
from t5x_selfprog.puzzles.source import (
    SourceError,
    annotate_return,
    cut_at_unindented,
    end_of_first_function,
    normalise_solution,
    rename_definition,
    rename_function,
    returning_bool,
)
from verifier.errors import UserError
from verifier.language.puzzle import PuzzleError, parse_puzzle, solution_header

BLANK_LINE = "\n\n"
NO_TUTORIAL = "none"
CHATS = ("", "begun", "free")
CHECK = "assert f(g())"
_AMBIGUOUS = re.compile(r"\"\"\"|'''|\\\n")  # multi-line string literals
_AT_MARGIN = re.compile(r"\n[^\s)\]}]")
_TYPED_HEADER = re.compile(
    r"def g\([^()]*\) -> "
)  # the common form; headers with brackets in their defaults are parsed

CountTokens = Callable[[str], int]
Encode = Callable[[str], Sequence[int]]
Layout = Callable[[list[str], str, int], str]  # puzzles shown, how the one asked for begins, its number


# Training pairs.


def pair_text(puzzle: str, solution: str) -> str:
    """The text to train on: `f`, blank line, `g`, blank line, `assert f(g())`, without a final newline."""
    return BLANK_LINE.join((puzzle.strip("\n"), solution.strip("\n"), CHECK))


def puzzle_of_pair(text: str) -> str | None:
    """The puzzle of a training pair made by `pair_text`; None for a document of another kind.

    Blank lines, `def g(` and the check may also occur in a string literal of the puzzle, so its function's end decides.
    """
    if not text.endswith(BLANK_LINE + CHECK):
        return None
    puzzle, found, _ = text.partition(f"{BLANK_LINE}def g(")
    if (
        found and not _AMBIGUOUS.search(text) and not _AT_MARGIN.search(puzzle)
    ):  # nearly always; otherwise it takes a parser
        return puzzle
    end = end_of_first_function(text)
    if end is None:  # this Python cannot parse it; the paper's judge used an older one
        return puzzle if found else None
    rest, _, solution = text[end:].partition(BLANK_LINE)
    return text[:end] + rest if solution != CHECK else None


def typed_pair(text: str) -> str:
    """A training pair in the form of a typed `SolvePrompt`: `g` is annotated with the puzzle's answer type.

    Other documents, pairs that are already annotated, and pairs with an invalid puzzle are returned unchanged.
    """
    puzzle = puzzle_of_pair(text)
    if puzzle is None:
        return text
    solution = text[len(puzzle) + len(BLANK_LINE) : -len(BLANK_LINE + CHECK)]
    if _TYPED_HEADER.match(solution):
        return text
    try:
        answer_type = parse_puzzle(puzzle).answer_type
    except PuzzleError:
        return text
    return pair_text(puzzle, annotate_return(solution, answer_type))


def returning_pair(text: str) -> str:
    """A training pair whose puzzle says `-> bool`; other documents are returned unchanged."""
    puzzle = puzzle_of_pair(text)
    return text if puzzle is None else returning_bool(puzzle) + text[len(puzzle) :]


def puzzle_list(sources: Iterable[str]) -> str:
    """A document of puzzles only, numbered f1, f2, ... as in a puzzle prompt."""
    return BLANK_LINE.join(
        rename_function(source, f"f{i}").rstrip() for i, source in enumerate(sources, start=1)
    )


# Puzzle prompts.


@dataclass(frozen=True)
class Example:
    """A puzzle that may appear in a puzzle prompt.

    Attributes:
      weight: twice the weight gives twice the chance of coming first.
      note: a comment line above it, for instance its difficulty.
    """

    puzzle_id: str
    source: str
    weight: float = 1.0
    note: str = ""


@dataclass(frozen=True)
class PuzzlePrompt:
    """A prompt whose `text` ends with the start of the puzzle asked for: `def f{number}(` and the signature `begun`."""

    text: str
    puzzle_ids: tuple[str, ...]
    number: int
    begun: str = ""


class PuzzlePrompts:
    """Draws puzzle prompts: examples in random order, renamed f1, f2, ..., as many as fit the budget."""

    MAX_SHARE = 0.25  # of the budget for one example, so that every prompt shows several.

    def __init__(
        self,
        examples: Iterable[Example],
        *,
        budget_tokens: int,
        count_tokens: CountTokens,
        begun: Sequence[tuple[str, str]] = (),
        note: str = "",
        layout: Layout | None = None,
    ) -> None:
        """
        Args:
            budget_tokens: the size of the whole prompt.
            begun: beginnings of signatures by the id of their puzzle (signatures.py); a prompt continues with one of
                them, from a puzzle that it does not show.
            note: the comment line above the puzzle asked for, in prompts that show an example with a note.
            layout: makes the text of what is shown and what is asked for; by default one list of puzzles.

        Raises UserError if no example fits the budget.
        """
        self._begun, self._note, self._layout = begun, note, layout or _listed
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
        """The prompt for a key; a pure function of key, examples, budget and token counts."""
        chosen: list[Example] = []
        left = self._budget_tokens
        for example, cost in _shuffled(self._examples, key):
            if cost > left:
                break
            chosen.append(example)
            left -= cost
        prompt = self._prompt(chosen, key)
        # The sum over the parts is an estimate (f12 may be longer than f); the whole prompt must fit.
        while chosen and self._count_tokens(prompt.text) > self._budget_tokens:
            chosen.pop()
            prompt = self._prompt(chosen, key)
        return prompt

    def _prompt(self, chosen: Sequence[Example], key: Sequence[int]) -> PuzzlePrompt:
        shown = {example.puzzle_id for example in chosen}
        others = [item for item in self._begun if item[0] not in shown]
        _, begun = min(others, key=lambda item: _uniform(key, f"signature {item[0]}"), default=("", ""))
        note = self._note if any(example.note for example in chosen) else ""
        return _puzzle_prompt(chosen, begun, note, self._layout)


def examples_of(problems: Iterable[Problem]) -> list[Example]:
    """Every problem's first instance as an example of weight 1."""
    return [Example(problem.puzzle_id, problem.source) for problem in problems]


def _listed(shown: list[str], begun: str, number: int) -> str:
    return BLANK_LINE.join([*shown, begun])


def _puzzle_prompt(examples: Sequence[Example], begun: str, note: str, layout: Layout) -> PuzzlePrompt:
    number = len(examples) + 1
    shown = [
        _noted(example.note, rename_function(example.source, f"f{i}").rstrip())
        for i, example in enumerate(examples, start=1)
    ]
    text = layout(shown, _noted(note, f"def f{number}({begun}"), number)
    return PuzzlePrompt(text, tuple(example.puzzle_id for example in examples), number, begun)


def _noted(note: str, text: str) -> str:
    return f"{note}\n{text}" if note else text


def _shuffled(examples: Sequence[tuple[Example, int]], key: Sequence[int]) -> list[tuple[Example, int]]:
    """A weighted order without replacement, from exponential variates whose rate is the weight.

    Efraimidis and Spirakis, Weighted random sampling with a reservoir, 2006.
    """

    def place(item: tuple[Example, int]) -> tuple[float, str]:
        example = item[0]
        return -math.log(_uniform(key, example.puzzle_id)) / example.weight, example.puzzle_id

    return sorted(examples, key=place)


def _uniform(key: Sequence[int], name: str) -> float:
    """A number in (0, 1] that depends only on the arguments."""
    text = ",".join(str(int(part)) for part in key) + "/" + name
    digest = hashlib.sha256(text.encode()).digest()
    return (int.from_bytes(digest[:7], "big") + 1) / 2**56


def puzzle_from_completion(number: int, completion: str, begun: str = "") -> str:
    """The puzzle that a model wrote after `def f{number}(` and `begun`, cut at its end and renamed to `f`."""
    return rename_definition(cut_at_unindented(f"def f{number}({begun}{completion}"), "f")


# Solve prompts.


@dataclass(frozen=True)
class SolveRequest:
    """A solve prompt: `text` is what the model continues; it ends with `header`, where the solution begins.

    Without a header, the model answers in prose and writes the whole solution in a code block.
    """

    text: str
    header: str

    def solution(self, completion: str) -> str:
        """The solution that the model wrote."""
        if self.header:
            return clean_solution(self.header, completion)
        return clean_solution("", solution_of_answer(completion))


@dataclass(frozen=True)
class SolvePrompt:
    """The form of solve prompts.

    Attributes:
      tutorial: solved examples shown first: "seeds" for our own five, a folder in P3's format for its `Tutorial...`
        problems (the paper uses P3's), or "none" for the puzzle alone, as a fine-tuned model has seen it.
      typed: whether headers state the return type, `def g(n=3) -> str:`, in prompts, the tutorial and training pairs.
        For small models, an answer of the wrong type is the most frequent mistake.
      returns: whether puzzles say `-> bool`, likewise everywhere; `sample_puzzles.run.returns` is its counterpart. It
        does not keep a small model from writing puzzles that return what solutions do (results/claim).
      chat: "" for text that the model continues. In the model's own chat template (asking.py): "begun" for an answer
        that is begun for it, up to the header; "free" for one it writes itself, of which the first code block counts.
    """

    tutorial: str = "seeds"
    typed: bool = False
    returns: bool = False
    chat: Literal["", "begun", "free"] = ""

    def __post_init__(self) -> None:
        if self.chat not in CHATS:
            raise UserError(f"SolvePrompt.chat={self.chat!r}: choose {', '.join(map(repr, CHATS))}")


def in_form(text: str, prompt: SolvePrompt) -> str:
    """A training pair in the form of what stage 3 asks and stage 7 measures."""
    text = typed_pair(text) if prompt.typed else text
    return returning_pair(text) if prompt.returns else text


def tutorial_blocks(prompt: SolvePrompt) -> list[str]:
    """Solved examples as training pairs. Raises UserError if the set has no solved tutorial problem."""
    if prompt.tutorial == NO_TUTORIAL:
        return []
    problems = tutorial_problems(load_problems(prompt.tutorial))
    if not problems:
        raise UserError(
            f"{prompt.tutorial}: no problem called Tutorial... with a solution; "
            f"name a set that has some, or {NO_TUTORIAL!r} for prompts without examples"
        )
    return [in_form(pair_text(problem.source, problem.solutions[0]), prompt) for problem in problems]


def solve_prefix(prompt: SolvePrompt) -> str:
    """The text before every puzzle of a stage: the tutorial and a blank line, or nothing. Raises UserError."""
    blocks = tutorial_blocks(prompt)
    return BLANK_LINE.join([*blocks, ""]) if blocks else ""


def solve_prompt(
    puzzle: str,
    tutorial: Sequence[str] = (),
    *,
    encode: Encode | None = None,
    form: SolvePrompt = SolvePrompt(),
) -> SolveRequest:
    """Tutorial pairs, the puzzle, and the header of `g`. Raises PuzzleError if `puzzle` is not a puzzle.

    With `encode`, the tokenizer's function, the prompt is made to end at a token boundary.
    """
    header = solution_header(parse_puzzle(puzzle), typed=form.typed)
    shown = returning_bool(puzzle) if form.returns else puzzle
    text = BLANK_LINE.join([*tutorial, shown.strip("\n"), header])
    if encode is not None and not ends_at_token_boundary(text, "\n    return", encode):
        text, header = f"{text}\n", f"{header}\n"
    return SolveRequest(text, header)


def ends_at_token_boundary(text: str, continuation: str, encode: Encode) -> bool:
    """Whether the tokens of `text` are a prefix of those of `text + continuation`."""
    tokens = list(encode(text))
    return list(encode(text + continuation))[: len(tokens)] == tokens


def clean_solution(header: str, completion: str) -> str:
    """The solution that a model wrote: `header` and `completion`, cut at the first unindented line."""
    return cut_at_unindented(header + completion)


def solution_key(solution: str) -> str | None:
    """Canonical text for comparing solutions of one puzzle; None for text that is not Python."""
    try:
        return normalise_solution(solution)
    except SourceError:
        return None
