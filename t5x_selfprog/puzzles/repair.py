"""Repairs signatures of generated puzzles: adds missing defaults and removes unused arguments; the body is unchanged.

A puzzle has one argument without a default, the answer. Models write `def f(x: List[int], n: int)` about half the time;
with `n=7` that is a puzzle like any other, and is judged like any other. An argument gets a default that arguments of
its type have in the train split, preferably one with its name. Its type is the annotation's, else that of the train
split's arguments of that name, else inferred from the body. Among several defaults, a hash of the puzzle and the
argument's name decides. A puzzle is left unchanged if an argument's type is unknown or if it has more arguments than
any puzzle of the train split. An argument that the body never names is removed, with or without a default.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from t5x_selfprog.puzzles.scopes import with_defaults
from t5x_selfprog.puzzles.signatures import Parameter, split_signature
from t5x_selfprog.puzzles.source import SourceError, lenient_python, only_function, short_hash, unparse
from verifier.language.answer_types import TypeSyntaxError, parse_type

MAX_CHARS = 60  # of a default


@dataclass
class Defaults:
    """The defaults of known puzzles, as text, by type and by (type, argument name)."""

    by_type: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    by_name: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    types: dict[str, str] = field(default_factory=dict)  # by argument name: the type of its first default
    most: int = 0  # defaults of one puzzle

    @classmethod
    def of(cls, sources: Iterable[str]) -> Defaults:
        """The defaults of these puzzles, in order."""
        known = cls()
        for source in sources:
            try:
                arguments = only_function(source).args
            except SourceError:
                continue
            known.most = max(known.most, len(arguments.defaults))
            for argument, default in with_defaults(arguments):
                known._add(argument.arg, default)
        return known

    def _add(self, name: str, default: ast.expr) -> None:
        try:
            with lenient_python():
                kind = _type_of(ast.literal_eval(default))
            text = unparse(default)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return
        if kind is None or len(text) > MAX_CHARS:
            return
        for found in (self.by_type[kind], self.by_name[kind, name]):
            if text not in found:
                found.append(text)
        self.types.setdefault(name, kind)

    def choose(self, source: str, parameter: Parameter) -> str | None:
        """The default for a parameter of this puzzle; None if its type is unknown."""
        kind = self._kind(source, parameter)
        if kind is None:
            return None
        options = self.by_name.get((kind, parameter.name)) or self.by_type.get(kind)
        if not options:
            return None
        return options[int(short_hash(f"default {parameter.name} {source}"), 16) % len(options)]

    def _kind(self, source: str, parameter: Parameter) -> str | None:
        if parameter.annotation:
            try:
                return str(parse_type(parameter.annotation))
            except TypeSyntaxError:
                return None
        return self.types.get(parameter.name) or ("int" if _is_number(source, parameter.name) else None)


def _type_of(value: object) -> str | None:
    """The answer type of a plain value; None for an empty list and for values of mixed type."""
    if type(value) in (bool, int, float, str):
        return type(value).__name__
    if type(value) is list:
        inner = {_type_of(item) for item in value}
        return f"List[{kind}]" if len(inner) == 1 and (kind := inner.pop()) is not None else None
    return None


def _is_number(source: str, name: str) -> bool:
    """Whether a name is used as a number: in range(...), in arithmetic, compared with len(...) or a number."""
    n = re.escape(name)
    return any(re.search(pattern.replace("NAME", rf"\b{n}\b(?![\[.(])"), source) for pattern in _NUMERIC)


_NUMERIC = (
    r"range\([^()]*NAME",
    r"NAME\s*(?:\*\*|//|[-%/])",
    r"(?:\*\*|//|[-%/])\s*NAME",
    r"NAME\s*[<>=!]=?\s*(?:len\(|sum\(|\d)",
    r"(?:len|sum|abs)\([^()]*\)\s*[<>=!]=?\s*NAME",
)


def repaired(source: str, defaults: Defaults) -> str | None:
    """The puzzle with a default and a use for every argument after the answer; None if unchanged or impossible."""
    parts = split_signature(source)
    if parts is None or not parts[1] or parts[1][0].default:
        return None
    head, (answer, *others), rest = parts
    used = [parameter for parameter in others if re.search(rf"\b{parameter.name}\b", rest)]
    if len(used) == len(others) and all(parameter.default for parameter in used):
        return None
    if len(used) > defaults.most or len({answer.name, *(p.name for p in used)}) < 1 + len(used):
        return None
    written = [answer.text]
    for parameter in used:
        if parameter.default:
            written.append(parameter.text)
            continue
        default = defaults.choose(source, parameter)
        if default is None:
            return None
        written.append(f"{parameter.name}={default}")
    return f"{head}{', '.join(written)}{rest}"
