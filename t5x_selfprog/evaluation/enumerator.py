"""The baseline without a model: a short list of typed guesses, the same for every puzzle of a type.

It is the line to beat. A puzzle that this list solves says little about a model, and a Pass@100 below the list's means
that the model has not learned what a page of templates contains. Its 55 guesses solve 47 of P3's 155 train puzzles, for
which it was written, and 47 of the 228 test puzzles, which its author had not seen.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from t5x_selfprog.evaluation.guess_templates import CONSTANTS, TEMPLATES
from verifier.language.answer_types import AnswerType, parse_type
from verifier.language.puzzle import Puzzle, solution_header

LIMIT = 55
_FILLINGS_PER_TEMPLATE = 4  # so that no template with many fitting arguments crowds out the rest
_RARE = {
    "None": ("None",),
    "bytes": ("b''", "b'a'"),
    "complex": ("0j", "1j"),
}
_ELEMENT_GUESSES = 4
_SCALAR = r"(?:int|float|str|bool|T)"
_HOLE = re.compile(rf"\$(List\[List\[{_SCALAR}\]\]|List\[{_SCALAR}\]|{_SCALAR}|List)")
_ARITHMETIC = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Constant, ast.operator, ast.unaryop)

Scope = Mapping[str, str]  # argument name -> type of its default, "List[int]"


def guesses(puzzle: Puzzle, limit: int = LIMIT) -> list[str]:
    """At most `limit` different solutions of `puzzle`, in the order to try them.

    Deterministic; nothing is run. The first guesses of every template come before the second ones.
    """
    header = solution_header(puzzle)
    scope = {argument.name: default_type(argument.default_source) for argument in puzzle.arguments}
    expressions = itertools.islice(_distinct(_expressions(parse_type(puzzle.answer_type), scope)), limit)
    return [f"{header}\n    return {expression}" for expression in expressions]


def default_type(source: str) -> str:
    """The type of a default value, "int" or "List[str]"; "" where no template knows it.

    An empty list counts as List[int], a list of ints and floats as List[float].
    """
    try:
        return _type_of(ast.literal_eval(source))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return _type_of_arithmetic(source)


def _type_of(value: object) -> str:
    if not isinstance(value, list):
        return type(value).__name__ if type(value) in (int, float, str, bool) else ""
    inner = {_type_of(item) for item in value}
    if not inner:
        return "List[int]"
    if inner == {"int", "float"}:
        return "List[float]"
    return f"List[{inner.pop()}]" if len(inner) == 1 and "" not in inner else ""


def _type_of_arithmetic(source: str) -> str:
    """`10 ** 6` is an int and `"ab" * 3` a str: inferred from the constants, without evaluation."""
    nodes = list(ast.walk(ast.parse(source, mode="eval")))
    if not any(isinstance(node, ast.BinOp) for node in nodes):
        return ""
    if not all(isinstance(node, _ARITHMETIC) for node in nodes):
        return ""
    found = {type(node.value).__name__ for node in nodes if isinstance(node, ast.Constant)}
    if found == {"int"} and any(isinstance(node, ast.Div) for node in nodes):
        return "float"
    return next((name for name in ("str", "float", "int") if name in found), "")


def _expressions(answer: AnswerType, scope: Scope) -> Iterator[str]:
    """Guesses for an answer type, recursive for nested types; may repeat."""
    parts = answer.arguments
    match answer.name:
        case "int" | "float" | "str" | "bool" | "List":
            fillings = [_fill(template, element, scope) for template, element in _templates(answer)]
            yield from _in_turns(fillings)
            yield from CONSTANTS.get(str(answer), ())
        case "Set" | "FrozenSet":
            yield from (
                f"{answer.name.lower()}({items})" for items in _expressions(AnswerType("List", parts), scope)
            )
        case "Tuple" if answer.variadic:
            yield from (f"tuple({items})" for items in _expressions(AnswerType("List", parts), scope))
        case "Tuple":
            yield from (
                f"({''.join(f'{item}, ' for item in items)})" for items in _combinations(parts, scope)
            )
        case "Dict":
            yield "{}"
            yield from (f"{{{key}: {value}}}" for key, value in _combinations(parts, scope))
        case "Union":
            yield from _in_turns([_expressions(member, scope) for member in parts])
        case _:
            yield from _RARE[answer.name]


def _templates(answer: AnswerType) -> Iterator[tuple[str, AnswerType | None]]:
    """Every template for a type with what its `T` stands for, alternating between general and special lists."""
    lists: list[Iterator[tuple[str, AnswerType | None]]] = []
    pattern, element = "T", answer
    while element.name == "List":
        pattern, element = pattern.replace("T", "List[T]"), element.arguments[0]
        lists.append(zip(TEMPLATES.get(pattern, ()), itertools.repeat(element)))
    lists.append(zip(TEMPLATES.get(str(answer), ()), itertools.repeat(None)))
    yield from _in_turns(lists)


def _fill(template: str, element: AnswerType | None, scope: Scope) -> Iterator[str]:
    """The template with its holes filled in every way, up to a bound; nothing where no argument fits."""
    holes = [hole.replace("T", str(element)) for hole in _HOLE.findall(template)]
    fitting = [[name for name, found in scope.items() if _fits(found, hole)] for hole in holes]
    fillings = (names for names in itertools.product(*fitting) if len(set(names)) == len(names))
    elements = [""]
    if element is not None and "#T" in template:
        elements = list(itertools.islice(_distinct(_expressions(element, scope)), _ELEMENT_GUESSES))
    for names, guess in itertools.islice(itertools.product(fillings, elements), _FILLINGS_PER_TEMPLATE):
        yield _substitute(template, names).replace("#T", guess)


def _substitute(template: str, names: Sequence[str]) -> str:
    """Names for holes, left to right, then for `$1`, `$2`."""
    in_order = iter(names)
    filled = _HOLE.sub(lambda hole: next(in_order), template)
    return re.sub(r"\$(\d)", lambda back: names[int(back[1]) - 1], filled)


def _fits(found: str, hole: str) -> bool:
    return found.startswith("List[") if hole == "List" else found == hole


def _combinations(parts: tuple[AnswerType, ...], scope: Scope) -> list[tuple[str, ...]]:
    """Combined guesses for several parts, those made of early guesses first."""
    few = [list(enumerate(itertools.islice(_distinct(_expressions(part, scope)), 8))) for part in parts[:4]]
    ranked = sorted(itertools.product(*few), key=lambda items: sum(rank for rank, _ in items))
    return [tuple(text for _, text in items) for items in ranked]


def _in_turns(iterators: Sequence[Iterator[Any]]) -> Iterator[Any]:
    """The first of each, then the second of each, and so on."""
    missing = object()
    for turn in itertools.zip_longest(*iterators, fillvalue=missing):
        yield from (item for item in turn if item is not missing)


def _distinct(items: Iterator[str]) -> Iterator[str]:
    yield from dict.fromkeys(items)
