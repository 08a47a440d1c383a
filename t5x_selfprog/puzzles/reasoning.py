"""Tasks about programs that are known to run: their output on an input (deduction), an input for an output (abduction).

A program is a solution of a puzzle: `g` with the defaults of its arguments, and what it returned. It is shown as `h`;
the model completes an assertion, and must do so with plain values, since running the program would be no deduction.
Both become attempts like any other: a puzzle that says whether the values are right, and a `g` that returns them. (The
tasks of Absolute Zero, Zhao et al. 2025, arXiv:2505.03335.)
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from t5x_selfprog.puzzles.source import SourceError, rename_function, short_hash, unparse
from verifier.language.leniency import lenient_python
from verifier.language.puzzle import HIDDEN
from verifier.unit_tests.suite_calls import SuiteError
from verifier.unit_tests.suites import literal

Kind = Literal["deduction", "abduction"]
MOST_CHARACTERS = 200  # of an input or an output, written out


@dataclass(frozen=True)
class Program:
    """A solution that ran.

    Attributes:
      source: of `h`, its arguments without defaults and annotations.
      inputs: one for each argument.
      output: what it returned on these.
    """

    source: str
    inputs: tuple[Any, ...]
    output: Any


@dataclass(frozen=True)
class Reasoning:
    """One task. `text` is what the model continues, `puzzle` says whether its values are right."""

    task_id: str
    kind: Kind
    text: str
    puzzle: str

    def solution(self, completion: str) -> str:
        """A `g` that returns the values a completion begins with; "" where it begins with none, which no `g` is."""
        line = completion.partition("\n")[0]
        values = _values_of(line) if self.kind == "deduction" else _arguments_of(line)
        return "" if values is None else f"def g():\n    return {values}\n"


def program(solution: str, output: Any) -> Program | None:
    """None for a solution that is no such program: it has several statements, its defaults are not plain values, or
    what goes in or comes out is too long to be shown."""
    try:
        with lenient_python():
            tree = ast.parse(solution)
            if len(tree.body) != 1 or not isinstance(function := tree.body[0], ast.FunctionDef):
                return None
            arguments = function.args
            plain = not (arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs)
            if not plain or len(arguments.defaults) != len(arguments.args) or function.decorator_list:
                return None
            inputs = tuple(ast.literal_eval(default) for default in arguments.defaults)
            arguments.defaults, function.returns = [], None
            for argument in arguments.args:
                argument.annotation = None
            source = rename_function(unparse(tree), "h")
            written = (literal(list(inputs)), literal(output))
    except (SyntaxError, ValueError, RecursionError, MemoryError, TypeError, SourceError, SuiteError):
        return None
    return None if max(map(len, written)) > MOST_CHARACTERS else Program(source, inputs, output)


def reasonings(given: Program) -> Iterator[Reasoning]:
    """The tasks about a program: a deduction and, if it takes arguments, an abduction."""
    output = literal(given.output)
    called = ", ".join(literal(value) for value in given.inputs)
    above = f"{given.source.rstrip()}\n\n\n"
    right = f"    expected = {output}\n    return type(answer) is type(expected) and answer == expected\n"
    yield _made("deduction", f"{above}assert h({called}) ==", f"{HIDDEN}def f(answer: Any):\n{right}")
    if given.inputs:
        inside = "".join(f"    {line}\n" for line in given.source.rstrip().split("\n"))
        yield _made(
            "abduction",
            f"{above}assert {output} == h(",
            f"{HIDDEN}def f(inputs: Any):\n{inside}    answer = h(*inputs)\n{right}",
        )


def _made(kind: Kind, text: str, puzzle: str) -> Reasoning:
    return Reasoning(f"{kind}/{short_hash(text)}", kind, text, puzzle)


def _values_of(line: str) -> str | None:
    """The one plain value that a line holds, written out."""
    return _written(line.strip())


def _arguments_of(line: str) -> str | None:
    """The plain values before the parenthesis that ends a call, as a list."""
    for end in (place for place, letter in enumerate(line) if letter == ")"):
        text = line[:end].strip()
        if text and (found := _written(f"[{text}]")) is not None:
            return found
    return None


def _written(text: str) -> str | None:
    try:
        with lenient_python():
            return literal(ast.literal_eval(text))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError, SuiteError):
        return None
