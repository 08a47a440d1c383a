"""Resolves each name in a piece of Python to the scope that binds it.

Renaming a function, abstracting names and finding undefined names all need to know that the `i` of one comprehension is
not the `i` of the next, and that the program does not bind `len`. `occurrences` walks a syntax tree once and returns
every occurrence of a name, in an order fixed by the tree's structure; `Occurrence.owner` is the scope that binds it, or
None for a builtin or an undefined name.

The rules follow the language reference (section 4.2.2, "Resolution of names"): class bodies are invisible to the
functions inside them, a comprehension's first iterable belongs to the enclosing scope, and a walrus binds outside its
comprehension.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from t5x_selfprog.puzzles.trees import Visitor

_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


@dataclass(eq=False)
class Scope:
    """One namespace; `bound` holds the names bound in it."""

    kind: Literal["module", "function", "comprehension", "class"]
    parent: Scope | None
    bound: set[str] = field(default_factory=set)
    declared_global: set[str] = field(default_factory=set)
    declared_nonlocal: set[str] = field(default_factory=set)

    @property
    def module(self) -> Scope:
        outermost = self
        while outermost.parent is not None:
            outermost = outermost.parent
        return outermost

    def owner_of(self, name: str) -> Scope | None:
        """The scope that binds `name` as seen from here, or None if this program does not bind it."""
        if name in self.declared_global:
            return self.module if name in self.module.bound else None
        if name in self.bound and name not in self.declared_nonlocal:
            return self
        outer = self.parent
        while outer is not None and outer.kind == "class":
            outer = outer.parent
        return outer.owner_of(name) if outer is not None else None


@dataclass(frozen=True)
class Occurrence:
    """A name at `node.<field>`; `field` is "" where the name cannot be replaced (imports)."""

    node: ast.AST
    field: str
    name: str
    scope: Scope
    binds: bool

    @property
    def owner(self) -> Scope | None:
        return self.scope.owner_of(self.name)


def occurrences(tree: ast.AST) -> list[Occurrence]:
    """Every name in `tree`, bindings and uses alike. Raises RecursionError on absurdly deep trees."""
    walker = _Walker()
    walker.visit(tree)
    return walker.found


class _Walker(Visitor):
    def __init__(self) -> None:
        self.scope = Scope("module", None)
        self.found: list[Occurrence] = []

    def _bind(self, node: ast.AST, field_name: str, name: str, scope: Scope | None = None) -> None:
        target = scope or self.scope
        (target.module if name in target.declared_global else target).bound.add(name)
        self.found.append(Occurrence(node, field_name, name, self.scope, binds=True))

    def _visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    @contextlib.contextmanager
    def _inside(self, kind: Literal["function", "comprehension", "class"]) -> Iterator[None]:
        around = self.scope
        self.scope = Scope(kind, around)
        yield
        self.scope = around

    # Names.

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.found.append(Occurrence(node, "id", node.id, self.scope, binds=False))
        else:
            self._bind(node, "id", node.id)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        target = self.scope
        while target.kind == "comprehension" and target.parent is not None:
            target = target.parent
        self._bind(node.target, "id", node.target.id, target)
        self.visit(node.value)

    def visit_Global(self, node: ast.Global) -> None:
        self.scope.declared_global.update(node.names)

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self.scope.declared_nonlocal.update(node.names)

    def visit_alias(self, node: ast.alias) -> None:
        self._bind(node, "", node.asname or node.name.split(".")[0])

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._visit_all([node.type])
        if node.name is not None:
            self._bind(node, "name", node.name)
        self._visit_all(node.body)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self._visit_all([node.pattern])
        if node.name is not None:
            self._bind(node, "name", node.name)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        if node.name is not None:
            self._bind(node, "name", node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self.generic_visit(node)
        if node.rest is not None:
            self._bind(node, "rest", node.rest)

    # Scopes.

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._bind(node, "name", node.name)
        self._visit_all(node.decorator_list)
        self._visit_signature(node.args, node.returns)
        with self._inside("function"):
            self._bind_arguments(node.args)
            self._visit_all(node.body)

    visit_FunctionDef = _visit_function
    visit_AsyncFunctionDef = _visit_function

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_signature(node.args, None)
        with self._inside("function"):
            self._bind_arguments(node.args)
            self.visit(node.body)

    def _visit_signature(self, args: ast.arguments, returns: ast.expr | None) -> None:
        """Defaults and annotations are evaluated in the enclosing scope."""
        self._visit_all(arg.annotation for arg in every_argument(args))
        self._visit_all(args.defaults)
        self._visit_all(args.kw_defaults)
        self._visit_all([returns])

    def _bind_arguments(self, args: ast.arguments) -> None:
        for arg in every_argument(args):
            self._bind(arg, "arg", arg.arg)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node, "name", node.name)
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        with self._inside("class"):
            self._visit_all(node.body)

    def _visit_comprehension(self, node: _Comprehension) -> None:
        self.visit(node.generators[0].iter)
        with self._inside("comprehension"):
            for i, generator in enumerate(node.generators):
                self.visit(generator.target)
                if i > 0:
                    self.visit(generator.iter)
                self._visit_all(generator.ifs)
            self._visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])

    visit_ListComp = _visit_comprehension
    visit_SetComp = _visit_comprehension
    visit_DictComp = _visit_comprehension
    visit_GeneratorExp = _visit_comprehension


def with_defaults(args: ast.arguments) -> list[tuple[ast.arg, ast.expr]]:
    """The plain arguments that have a default, each with it."""
    required = len(args.args) - len(args.defaults)
    return list(zip(args.args[required:], args.defaults, strict=True))


def every_argument(args: ast.arguments) -> list[ast.arg]:
    """All arguments, in source order."""
    positional = [*args.posonlyargs, *args.args]
    star = [args.vararg] if args.vararg is not None else []
    double_star = [args.kwarg] if args.kwarg is not None else []
    return [*positional, *star, *args.kwonlyargs, *double_star]
