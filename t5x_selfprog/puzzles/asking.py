"""How a stage asks one model for solutions, and what its training documents look like: plain text, or a conversation.

As plain text a solve prompt is a beginning of a training pair (prompts.py). In a conversation (`SolvePrompt.chat`) the
puzzle is what the user says, the tutorial is earlier turns, and the solution is the code block of an answer; documents
are the same turns, so a model is asked as it was trained either way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from t5x_selfprog.puzzles.chat import ASSISTANT, USER, ChatTemplate, Message
from t5x_selfprog.puzzles.prompts import (
    BLANK_LINE,
    CHECK,
    SolvePrompt,
    SolveRequest,
    ends_at_token_boundary,
    puzzle_of_pair,
    solve_prefix,
    solve_prompt,
    tutorial_blocks,
)
from t5x_selfprog.puzzles.question import END, FENCE, LEAD, question, rest_of_assertion
from t5x_selfprog.puzzles.source import returning_bool
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.tokenizer import Tokenizer
from verifier.errors import UserError
from verifier.language.puzzle import PuzzleError, parse_puzzle, solution_header

MORE = "These are puzzles, Python functions that are True of the right first argument:\n\n"
ABOUT = "This is a Python function:\n\n"
COMPLETE = (
    "Complete this assertion with plain values, so that it holds: `{}`. Answer with the assertion alone."
)
WRITE = "Write one more puzzle, `f{}`, unlike these. Answer with its code alone."


@dataclasses.dataclass(frozen=True)
class Asking:
    """How one stage asks one model.

    Attributes:
      prefix: text before every prompt.
      request: the rest of the prompt, for one puzzle; raises PuzzleError if it is not one.
      document_start: prompts begin as documents do; a template writes its own beginning.
      writes_prose: answers hold more than code, so nothing but their end ends them.
    """

    prefix: str
    request: Callable[[str], SolveRequest]
    document_start: bool = True
    writes_prose: bool = False

    def sampling(self, sampling: SamplingConfig) -> SamplingConfig:
        """`sampling` as this way of asking needs it."""
        return dataclasses.replace(
            sampling,
            document_start=sampling.document_start and self.document_start,
            stop="none" if self.writes_prose else sampling.stop,
        )


@dataclasses.dataclass(frozen=True)
class AssertionRequest:
    """A prompt about a program: `text` is what the model continues.

    Attributes:
      assertion: how the assertion begins that an answer in prose must hold; "" where `text` ends with it.
    """

    text: str
    assertion: str = ""

    def continuation(self, answer: str) -> str:
        """What the model wrote after the beginning of the assertion."""
        return rest_of_assertion(answer, self.assertion) if self.assertion else answer


def asking(prompt: SolvePrompt, tokenizer: Tokenizer, model: str) -> Asking:
    """Raises UserError for an invalid tutorial, and for a conversation with a model without a template."""
    encode = tokenizer.encode
    if not prompt.chat:
        return Asking(solve_prefix(prompt), lambda puzzle: solve_prompt(puzzle, encode=encode, form=prompt))
    template = ChatTemplate.of(tokenizer, model)
    before = _tutorial_turns(prompt)
    mark = "\ue002"  # of private use: where the puzzle goes
    prefix, _, _ = template.render([*before, (USER, f"{LEAD}{FENCE}{mark}")], "").partition(mark)

    def request(puzzle: str) -> SolveRequest:
        header = solution_header(parse_puzzle(puzzle), typed=prompt.typed)
        asked = question(returning_bool(puzzle) if prompt.returns else puzzle, header)
        if prompt.chat == "free":
            return SolveRequest(_after(prefix, template.render([*before, (USER, asked)], "")), "")
        text = template.render([*before, (USER, asked)], FENCE + header)
        if not ends_at_token_boundary(text, "\n    return", encode):
            text, header = f"{text}\n", f"{header}\n"
        return SolveRequest(_after(prefix, text), header)

    return Asking(prefix, request, document_start=False, writes_prose=prompt.chat == "free")


def asking_about_programs(
    prompt: SolvePrompt, tokenizer: Tokenizer, model: str
) -> tuple[Asking, Callable[[str], AssertionRequest]]:
    """As `asking`, and how assertions about programs are asked for after the same prefix.

    The second is a function of a text that ends with the beginning of an assertion (reasoning.py).
    """
    way = asking(prompt, tokenizer, model)
    if not prompt.chat:
        return way, AssertionRequest
    template = ChatTemplate.of(tokenizer, model)
    before = _tutorial_turns(prompt)
    mark = "\ue002"
    start, _, _ = template.render([*before, (USER, mark)], "").partition(mark)
    lead = _after(start, way.prefix)  # questions about puzzles begin with it, those about programs do not

    def puzzle(source: str) -> SolveRequest:
        asked = way.request(source)
        return SolveRequest(lead + asked.text, asked.header)

    def assertion(text: str) -> AssertionRequest:
        program, _, begun = text.rpartition("\n\n\n")
        asked = f"{ABOUT}{FENCE}{program}{END}{BLANK_LINE}{COMPLETE.format(begun)}"
        reply = "" if way.writes_prose else FENCE + begun
        written = template.render([*before, (USER, asked)], reply)
        return AssertionRequest(_after(start, written), begun if way.writes_prose else "")

    return dataclasses.replace(way, prefix=start, request=puzzle), assertion


def documents(
    prompt: SolvePrompt, tokenizer: Tokenizer, model: str, *, document_start: bool = True
) -> Callable[[str], list[int]]:
    """Turns the text of a training document into its tokens, from the first that is an input to the last that is
    learnt.

    Plain text stands between the tokens that start and end documents in pretraining, since the weights know these;
    `Tokenizer` says which they are. A pair in a conversation is what its template makes of it, and ends as an answer
    does; documents of other kinds (lists of puzzles) are plain.

    document_start: as in the sampling of the model that learns them. A model that is asked without the token before a
      prompt would otherwise learn for texts that it never sees again.
    """
    before = [tokenizer.start_id] if document_start else []

    def plain(text: str) -> list[int]:
        return [*before, *tokenizer.encode(text), tokenizer.eos_id]

    if not prompt.chat:
        return plain
    template = ChatTemplate.of(tokenizer, model)

    def conversation(text: str) -> list[int]:
        turns = _turns(text)
        return tokenizer.encode(template.render(turns).rstrip("\n")) if turns else plain(text)

    return conversation


def puzzle_chat(tokenizer: Tokenizer, model: str) -> Callable[[list[str], str, int], str]:
    """The layout of a puzzle prompt as a conversation: shown puzzles, how the one asked for begins, its number."""
    template = ChatTemplate.of(tokenizer, model)

    def layout(shown: list[str], begun: str, number: int) -> str:
        asked = f"{MORE}{FENCE}{BLANK_LINE.join(shown)}{END}{BLANK_LINE}{WRITE.format(number)}"
        return template.render([(USER, asked)], FENCE + begun)

    return layout


def _turns(pair: str) -> list[Message]:
    """A training pair as a question and its answer; nothing for a document of another kind."""
    puzzle = puzzle_of_pair(pair)
    if puzzle is None:
        return []
    solution = pair[len(puzzle) + len(BLANK_LINE) : -len(BLANK_LINE + CHECK)]
    header = solution.partition("\n")[0]
    try:
        parse_puzzle(puzzle)
    except PuzzleError:
        return []
    return [(USER, question(puzzle, header)), (ASSISTANT, FENCE + solution + END)]


def _tutorial_turns(prompt: SolvePrompt) -> list[Message]:
    return [turn for block in tutorial_blocks(prompt) for turn in _turns(block)]


def _after(prefix: str, text: str) -> str:
    if not text.startswith(prefix):
        raise UserError("the chat template writes what stands before a message otherwise for another message")
    return text[len(prefix) :]
