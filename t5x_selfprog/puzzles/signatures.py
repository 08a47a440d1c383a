"""Signatures of puzzles as text: how those of the train split begin, and parameters even where Python cannot parse.

Half of a small model's puzzles fail in the signature: the type is missing or invalid, or a second argument has no
default. A prompt may therefore include more of the signature: the answer's name and type from a train problem and, if
that problem has further arguments, everything up to the first one's default. The prompt's key selects the problem, so
types are as frequent as in the train split.

The beginning ends where tokens of most vocabularies end: after `=`, or after the brackets and quotes that open a list
or a string, and before a bracket that closes a type, which vocabularies merge with what follows.
"""

from __future__ import annotations

import ast
import io
import itertools
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from t5x_selfprog.puzzles.source import SourceError, only_function, unparse
from verifier.errors import UserError


@dataclass(frozen=True)
class AskedSignature:
    """How much of the signature a prompt includes.

    Attributes:
      upto: "type" for the answer's name and type; "default" to go on to the first further argument's default, if any.
    """

    upto: Literal["type", "default"] = "default"

    def __post_init__(self) -> None:
        if self.upto not in ("type", "default"):
            raise UserError(f"AskedSignature.upto={self.upto!r}: choose 'type' or 'default'.")

    def beginning(self, source: str) -> str:
        """The beginning of this puzzle's signature, after `def f(`; "" if its answer has no type."""
        arguments = only_function(source).args
        answer = arguments.args[0] if arguments.args else None
        if answer is None or answer.annotation is None:
            return ""
        typed = f"{answer.arg}: {unparse(answer.annotation)}"
        if self.upto == "type" or len(arguments.args) < 2 or not arguments.defaults:
            return typed.rstrip("]")
        return f"{typed}, {arguments.args[1].arg}={_opening(arguments.defaults[0])}"


def _opening(default: ast.expr) -> str:
    match default:
        case ast.List(elts=[first, *_]):
            return f"[{_opening(first)}"
        case ast.List():
            return "["
        case ast.Constant(value=str()):
            return '"'
    return ""


def beginnings(asked: AskedSignature, sources: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """(id, beginning) of every (id, source) that has one."""
    found = []
    for name, source in sources:
        try:
            text = asked.beginning(source)
        except SourceError:
            continue
        if text:
            found.append((name, text))
    return found


@dataclass(frozen=True)
class Parameter:
    """One argument as written: `text` is all of it; `annotation` and `default` are "" if missing."""

    text: str
    name: str
    annotation: str
    default: str


def split_signature(source: str) -> tuple[str, list[Parameter], str] | None:
    """`def f(`, its parameters, and the rest from the closing bracket on; None for text that begins otherwise.

    Works on tokens, so it also accepts parameters in an order that Python refuses. Joined by commas, the parts give the
    source again, except for a trailing comma.
    """
    try:
        tokens = list(_tokens_of_signature(source))
    except (tokenize.TokenError, SyntaxError):  # an unterminated literal, a stray character
        return None
    if [token.string for token in tokens[:3]] != ["def", "f", "("] or tokens[-1].string != ")":
        return None
    place = _Places(source)
    parts, depth, start = [], 0, tokens[2].end
    commas = []
    for token in tokens[3:]:
        if token.string in _OPEN:
            depth += 1
        elif token.string in _CLOSE:
            depth -= 1
        elif token.string == "," and not depth:
            commas.append(token)
    edges = [start, *(edge for comma in commas for edge in (comma.start, comma.end)), tokens[-1].start]
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        text = source[place(first) : place(last)].strip()
        if text:
            parts.append(text)
    parameters = [_parameter(text) for text in parts]
    if not all(parameters):
        return None
    head, rest = source[: place(start)], source[place(tokens[-1].start) :]
    return head, [parameter for parameter in parameters if parameter], rest


_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")


def _tokens_of_signature(source: str) -> Iterator[tokenize.TokenInfo]:
    """The tokens up to the bracket that closes the first one opened."""
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        yield token
        if token.type == tokenize.OP:
            depth += (token.string in _OPEN) - (token.string in _CLOSE)
            if not depth and token.string in _CLOSE:
                return


class _Places:
    """Maps a (row, column) of the tokenizer to an offset in the text."""

    def __init__(self, source: str):
        lines = io.StringIO(source).readlines()
        self._starts = list(itertools.accumulate(map(len, lines), initial=0))

    def __call__(self, at: tuple[int, int]) -> int:
        return self._starts[at[0] - 1] + at[1]


def _parameter(text: str) -> Parameter | None:
    """A parameter as parsed by Python; None for anything but a plain one."""
    try:
        arguments = only_function(f"def f({text}): pass").args
    except SourceError:
        return None
    if (
        len(arguments.args) != 1
        or arguments.posonlyargs
        or arguments.kwonlyargs
        or arguments.vararg
        or arguments.kwarg
    ):
        return None
    argument, defaults = arguments.args[0], arguments.defaults
    annotation = "" if argument.annotation is None else unparse(argument.annotation)
    return Parameter(text, argument.arg, annotation, unparse(defaults[0]) if defaults else "")
