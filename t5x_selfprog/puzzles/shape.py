"""The abstract identity of a puzzle: what remains when names and constants are removed.

Self-play collapses onto near-copies of a few forms, `return x == 17` beside `return n == 99`. They share one
`shape_id`, by which the filter caps their number and the test firewall recognises a disguised test puzzle.
"""

from __future__ import annotations

import ast
import functools
from typing import cast

from t5x_selfprog.puzzles.scopes import Occurrence, Scope, occurrences
from t5x_selfprog.puzzles.source import SourceError, bare_tree, short_hash, unparse
from t5x_selfprog.puzzles.trees import Transformer


def abstract_form(source: str) -> str:
    """Readable text of `source` with bound names numbered in order and constants replaced by their type.

    Attribute names, builtins and operators are kept: `sum` is not `len`. A subtree of constants only (`[1, 2]`,
    `-3`, `10 ** 6`) counts as one constant. Raises SourceError.
    """
    tree = bare_tree(source, keep_answer=True)
    try:
        for occurrence, name in _numbered_names(tree):
            setattr(occurrence.node, occurrence.field, name)
        return unparse(ConstantsToTypes().visit(tree))
    except RecursionError as error:
        raise SourceError("nested too deeply") from error


@functools.lru_cache(maxsize=1 << 17)  # every iteration asks again for the puzzles kept by earlier ones
def shape_id(source: str) -> str:
    """16 hexadecimal digits, equal for puzzles of equal abstract form. Raises SourceError."""
    return short_hash(abstract_form(source))


def _numbered_names(tree: ast.AST) -> list[tuple[Occurrence, str]]:
    """The new name of each replaceable occurrence of a bound name: v0, v1, ... by first appearance."""
    found = [(occurrence, occurrence.owner) for occurrence in occurrences(tree)]
    pinned = {(owner, occurrence.name) for occurrence, owner in found if occurrence.field == ""}
    numbers: dict[tuple[Scope, str], int] = {}
    renamed = []
    for occurrence, owner in found:
        if owner is None or (owner, occurrence.name) in pinned:
            continue
        number = numbers.setdefault((owner, occurrence.name), len(numbers))
        renamed.append((occurrence, f"v{number}"))
    return renamed


class ConstantsToTypes(Transformer):
    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.JoinedStr) and any(map(_is_field, node.values)):
            return self._without_text(node)
        kind = constant_kind(node)
        return ast.Name(f"<{kind}>", ast.Load()) if kind is not None else self.generic_visit(node)

    def _without_text(self, node: ast.JoinedStr) -> ast.JoinedStr:
        """Leaves only the replacement fields of an f-string and of its format specs."""
        node.values = [part for part in node.values if _is_field(part)]
        for field in node.values:
            assert isinstance(field, ast.FormattedValue)
            field.value = cast(ast.expr, self.visit(field.value))
            if isinstance(field.format_spec, ast.JoinedStr):
                self._without_text(field.format_spec)
        return node


def _is_field(part: ast.expr) -> bool:
    return isinstance(part, ast.FormattedValue)


_MAY_BE_CONSTANT = {
    ast.Constant, ast.JoinedStr, ast.UnaryOp, ast.BinOp, ast.List, ast.Tuple, ast.Set, ast.Dict,
}  # fmt: skip


def constant_kind(node: ast.AST) -> str | None:
    """The type of an expression of constants only, such as "list[int]"; None for any other node."""
    if node.__class__ not in _MAY_BE_CONSTANT:  # most nodes: spares them eight comparisons
        return None
    match node:
        case ast.Constant(value=value):
            return type(value).__name__
        case ast.JoinedStr(values=parts) if not any(map(_is_field, parts)):
            return "str"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return "bool" if constant_kind(operand) is not None else None
        case ast.UnaryOp(operand=operand):
            return constant_kind(operand)
        case ast.BinOp(left=left, op=operator, right=right):
            return _arithmetic_kind(constant_kind(left), operator, constant_kind(right))
        case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
            inner = _common_kind(elements)
            return None if inner is None else f"{type(node).__name__.lower()}[{inner}]"
        case ast.Dict(keys=keys, values=values):
            key, value = _common_kind(keys), _common_kind(values)
            return None if key is None or value is None else f"dict[{key}, {value}]"
    return None


def _arithmetic_kind(left: str | None, operator: ast.operator, right: str | None) -> str | None:
    if left is None or right is None:
        return None
    kinds = {left, right}
    if kinds <= {"int", "bool"}:
        return "float" if isinstance(operator, ast.Div) else "int"
    if kinds <= {"int", "bool", "float"}:
        return "float"
    other = sorted(kinds - {"int"})
    return other[0] if len(other) == 1 else "mixed"  # 'ab' * 3 and [0] * 9 keep the kind of the sequence.


def _common_kind(elements: list[ast.expr] | list[ast.expr | None]) -> str | None:
    """The elements' common kind, "" if there are none, "mixed" if there are several; None if any is not constant."""
    kinds = {None if element is None else constant_kind(element) for element in elements}
    if None in kinds:
        return None
    return "" if not kinds else str(kinds.pop()) if len(kinds) == 1 else "mixed"
