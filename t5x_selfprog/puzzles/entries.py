"""Reads one entry of P3's `puzzles.json`: checks it, and renames `sat` and `sol` to `f` and `g`."""

from __future__ import annotations

import ast
import functools
import re
from dataclasses import dataclass
from typing import Any, Literal

from t5x_selfprog.puzzles.source import (
    SourceError,
    only_function,
    rename_function,
    rename_only_mention,
    unparse,
)
from verifier.language.answer_types import TypeSyntaxError, parse_type
from verifier.language.puzzle import PuzzleError, parse_puzzle

Docstrings = Literal["keep", "drop"]

_INSTANCE_NAME = re.compile(r"(.+):(\d+)")
_TEXT_FIELDS = ("name", "sat", "ans_type", "sol_header", "sol_docstring", "module")
MODULE = "own"  # of entries that name none
_DERIVED = ("ans_type", "sol_header", "sol_docstring", "module")  # from `sat` if they are missing, or empty


@dataclass(frozen=True)
class Entry:
    """Instance `index` of `problem`: the source of f, and reference solutions g for it."""

    problem: str
    index: int
    source: str
    answer_type: str
    solutions: tuple[str, ...]
    statement: str
    module: str


def read_entry(entry: Any, docstrings: Docstrings) -> Entry:
    """Raises SourceError saying what is wrong; the caller adds the file and the place in it."""
    if not isinstance(entry, dict):
        raise SourceError(f"must be an object, is {type(entry).__name__}")
    for field in _TEXT_FIELDS:
        if field not in entry and field not in _DERIVED:
            raise SourceError(f"has no {field!r}")
        if not isinstance(entry.get(field, ""), str):
            raise SourceError(f"{field!r} must be text, is {type(entry[field]).__name__}")
    bodies = entry.get("sol_bodies", [])
    if not isinstance(bodies, list) or not all(isinstance(body, str) for body in bodies):
        raise SourceError("'sol_bodies' must be a list of texts")
    name = _INSTANCE_NAME.fullmatch(entry["name"])
    if name is None:
        raise SourceError("'name' must look like Problem:0, the problem and the number of the instance")
    function = _function(entry["sat"], "sat", "sat")
    source = _renamed(entry["sat"], function, "f")
    docstring = entry.get("sol_docstring", "")
    statement = _docstring(docstring)
    answer_type = _answer_type(source, entry.get("ans_type", ""))
    header = entry.get("sol_header") or _header(function)
    head = [header, *([docstring] if docstrings == "keep" and statement else [])]
    return Entry(
        problem=name[1],
        index=int(name[2]),
        source=source,
        answer_type=answer_type,
        solutions=tuple(
            _solution("\n".join([*head, body]), function, f"sol_bodies[{i}]") for i, body in enumerate(bodies)
        ),
        statement=statement,
        module=entry.get("module") or MODULE,
    )


def _function(source: str, name: str, field: str) -> ast.FunctionDef:
    try:
        function = only_function(source)
    except SourceError as error:
        raise SourceError(f"{field!r} {error}") from error
    if function.name != name:
        raise SourceError(f"{field!r} must define {name!r}, defines {function.name!r}")
    return function


def _answer_type(source: str, written: str) -> str:
    """The normalised annotation of `sat`'s answer, which 'ans_type' must agree with, if it is given."""
    try:
        annotated = parse_puzzle(source).answer_type
        declared = str(parse_type(written)) if written else annotated
    except PuzzleError as error:
        raise SourceError(f"'sat', here called f, is no puzzle: {error}") from error
    except TypeSyntaxError as error:
        raise SourceError(f"'ans_type': {error}") from error
    if annotated != declared:
        raise SourceError(f"'ans_type' is {declared} but 'sat' annotates its answer as {annotated}")
    return annotated


def _header(puzzle: ast.FunctionDef) -> str:
    """The header of solutions: the puzzle's own arguments with their defaults."""
    arguments = puzzle.args
    own = zip(arguments.args[1:], arguments.defaults, strict=True)
    return f"def sol({', '.join(f'{argument.arg}={unparse(default)}' for argument, default in own)}):"


def _solution(source: str, puzzle: ast.FunctionDef, field: str) -> str:
    function = _function(source, "sol", field)
    arguments = function.args
    required = len(arguments.args) - len(arguments.defaults)
    unknown = {arg.arg for arg in arguments.args} - {arg.arg for arg in puzzle.args.args[1:]}
    if required:
        raise SourceError("'sol_header' has an argument without a default")
    if unknown:
        raise SourceError(f"'sol_header' has arguments that 'sat' has not: {', '.join(sorted(unknown))}")
    return _renamed(source, function, "g")


def _renamed(source: str, function: ast.FunctionDef, new: str) -> str:
    """`source`, which was parsed as `function`; most need not be parsed again."""
    return rename_only_mention(source, function, new) or rename_function(source, new)


@functools.lru_cache(maxsize=1024)  # all instances of a problem have the same
def _docstring(text: str) -> str:
    """The text of an indented docstring, unindented; "" if there is none."""
    if not text.strip():
        return ""
    function = _function(f"def sol():\n{text}", "sol", "sol_docstring")
    statement = ast.get_docstring(function)
    if statement is None or len(function.body) != 1:
        raise SourceError("'sol_docstring' must be one indented string")
    return statement
