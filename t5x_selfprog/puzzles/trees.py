"""Visits and copies syntax trees as `ast` and `copy` do, in a fraction of their time.

A set of puzzles is read, compared and indexed whenever a process starts. Most of what `ast`'s visitors visit cannot
hold a statement, an expression or a name (operators, `Load`, `Store`), and they look each method up by a name composed
for every node.
"""

from __future__ import annotations

import ast
from typing import Any, TypeVar

Node = TypeVar("Node", bound=ast.AST)

# Fields that hold only operators, contexts and plain values in every class of `ast`; `value` and `name` may hold nodes.
_LEAVES = {
    "ctx", "op", "ops", "id", "attr", "kind", "type_comment", "conversion", "simple", "is_async", "level", "module",
}  # fmt: skip
_inner_fields: dict[type, tuple[str, ...]] = {ast.Constant: ()}


def inner_fields(kind: type[ast.AST]) -> tuple[str, ...]:
    """The fields of a class of nodes in which other nodes may stand, operators and contexts aside."""
    found = _inner_fields.get(kind)
    if found is None:
        found = _inner_fields[kind] = tuple(name for name in kind._fields if name not in _LEAVES)
    return found


def children(node: ast.AST) -> list[ast.AST]:
    """As `ast.iter_child_nodes`, without operators and contexts."""
    return _in_fields(node, inner_fields(node.__class__))


def _in_fields(node: ast.AST, names: tuple[str, ...]) -> list[ast.AST]:
    """The nodes that stand in these fields of a node."""
    found = []
    for name in names:
        value = getattr(node, name, None)
        if isinstance(value, ast.AST):
            found.append(value)
        elif isinstance(value, list):
            found += [item for item in value if isinstance(item, ast.AST)]
    return found


def walk(tree: ast.AST) -> list[ast.AST]:
    """As `ast.walk`, level by level, without operators and contexts."""
    found = [tree]
    for node in found:  # which grows meanwhile
        found += children(node)
    return found


class Visitor:
    """As `ast.NodeVisitor`, without visits to operators and contexts."""

    _methods: dict[type, Any]

    def __init_subclass__(cls) -> None:
        cls._methods = {}

    def visit(self, node: ast.AST) -> Any:
        kind = node.__class__
        method = self._methods.get(kind)
        if method is None:
            own = type(self)
            method = self._methods[kind] = getattr(own, f"visit_{kind.__name__}", own.generic_visit)
        return method(self, node)

    def generic_visit(self, node: ast.AST) -> Any:
        for child in children(node):
            self.visit(child)


class Transformer(Visitor):
    """As `ast.NodeTransformer`, without visits to operators and contexts."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        for name in inner_fields(node.__class__):
            value = getattr(node, name, None)
            if isinstance(value, list):
                kept: list[Any] = []
                for item in value:
                    if isinstance(item, ast.AST):
                        item = self.visit(item)
                        if item is None:
                            continue
                        if not isinstance(item, ast.AST):
                            kept.extend(item)
                            continue
                    kept.append(item)
                value[:] = kept
            elif isinstance(value, ast.AST):
                new = self.visit(value)
                if new is None:
                    delattr(node, name)
                else:
                    setattr(node, name, new)
        return node


def size(tree: ast.AST) -> int:
    """The number of its nodes, operators and contexts included; one that stands in two places counts twice."""
    count, waiting = 0, [tree]
    while waiting:
        node = waiting.pop()
        count += 1
        waiting += _in_fields(node, node._fields)
    return count


def depth(tree: ast.AST) -> int:
    """How many of its nodes stand above one another at most, operators and contexts aside. It needs no recursion."""
    levels, level = 0, [tree]
    while level:
        levels += 1
        level = [child for node in level for child in children(node)]
    return levels


def copied(tree: Node) -> Node:
    """As `copy.deepcopy`: a node that stands in two places is copied once."""
    return _copied(tree, {})


def _copied(value: Any, known: dict[int, Any]) -> Any:
    """`known` holds the copy of each node and list by its id; the originals outlive it."""
    is_list = isinstance(value, list)
    if not is_list and not isinstance(value, ast.AST):
        return value  # a constant, or text
    found = known.get(id(value))
    if found is not None:
        return found
    if is_list:
        items = known[id(value)] = []
        items += [_copied(item, known) for item in value]
        return items
    kind = value.__class__
    node = known[id(value)] = kind.__new__(kind)
    node.__dict__.update({name: _copied(part, known) for name, part in value.__dict__.items()})
    return node
