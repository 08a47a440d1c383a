"""Whether a puzzle can return True at all, by the form of what it returns.

A model that has not learnt yet what a puzzle is writes functions that compute something, `return n * d`, and none of
its answers is ever right. What is decided here is decided without running anything and errs on one side: a puzzle is
refused only if everything that it may return is certain not to be True, whatever the answer.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable

from t5x_selfprog.puzzles.scopes import Occurrence, with_defaults
from verifier.language.puzzle import Puzzle, own_nodes

# Builtins that never return a bool, as opposed to `max`, `next` and others that return what they are given.
_CALLS = frozenset(
    "abs ascii bin bytearray bytes chr complex dict divmod enumerate filter float format frozenset hash hex id int len "
    "list map oct ord pow print range repr reversed round set slice sorted str sum tuple zip".split()
)
# Methods of builtin types that never return a bool, whichever of these types has them.
_METHODS = frozenset(
    "add append bit_length capitalize casefold center clear copy count decode difference discard encode expandtabs "
    "extend find format index insert intersection items join keys ljust lower lstrip partition remove replace reverse "
    "rfind rindex rjust rpartition rsplit rstrip sort split splitlines strip swapcase symmetric_difference title "
    "translate union update upper values zfill".split()
)
_CONTAINERS = (
    ast.List | ast.Tuple | ast.Set | ast.Dict | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    | ast.JoinedStr | ast.Lambda
)  # fmt: skip
_NO_BOOLS = re.compile(r"(List\[)*(int|float|str)\]*")


def never_true(puzzle: Puzzle, function: ast.FunctionDef, names: Iterable[Occurrence]) -> ast.expr | None:
    """The first returned expression of a puzzle if nothing that it may return is True; None otherwise.

    Operators of classes and of what is imported may return anything, so a puzzle with either is let through.

    Args:
      function: the syntax tree of the puzzle.
      names: all names in it.
    """
    if any(isinstance(node, ast.ClassDef | ast.Import | ast.ImportFrom) for node in ast.walk(function)):
        return None
    returned = [node.value for node in own_nodes(function) if isinstance(node, ast.Return) and node.value]
    returned.sort(key=lambda node: (node.lineno, node.col_offset))
    values = _Values(puzzle, function, names)
    return None if any(values.may_be(node, (True,)) for node in returned) else returned[0]


class _Values:
    """What the expressions of a puzzle's own level may be."""

    def __init__(self, puzzle: Puzzle, function: ast.FunctionDef, names: Iterable[Occurrence]) -> None:
        self._scopes = {id(found.node): found for found in names}
        self._bound, understood = _bindings(function)  # each variable's values
        parameters = {id(argument) for argument in function.args.args}
        self._own = next(found.scope for found in self._scopes.values() if id(found.node) in parameters)
        self._unknown = {
            found.name
            for found in self._scopes.values()
            if found.binds and found.owner is self._own and id(found.node) not in understood | parameters
        }
        bools = _NO_BOOLS.fullmatch(puzzle.answer_type) is None  # the verifier takes no bool for an int
        self._answer = None if bools or puzzle.answer_name in self._bound else puzzle.answer_name
        self._following: set[str] = set()

    def may_be(self, node: ast.expr, wanted: tuple[bool, ...]) -> bool:
        """Whether an expression's value may be one of these bools."""
        match node:
            case ast.Constant(value=value):
                return any(value is one for one in wanted)
            case ast.BoolOp(op=ast.And(), values=[*before, last]):
                return self.may_be(last, wanted) or (
                    False in wanted and any(self.may_be(value, (False,)) for value in before)
                )
            case ast.BoolOp(values=values):
                return any(self.may_be(value, wanted) for value in values)
            case ast.IfExp(body=body, orelse=orelse):
                return self.may_be(body, wanted) or self.may_be(orelse, wanted)
            case ast.NamedExpr(value=value):
                return self.may_be(value, wanted)
            case ast.BinOp(left=left, op=ast.BitAnd() | ast.BitOr() | ast.BitXor(), right=right):
                return all(self.may_be(side, (True, False)) for side in (left, right))
            case ast.UnaryOp(op=op):
                return isinstance(op, ast.Not)
            case ast.Name(id=name):
                return self._variable_may_be(name, wanted)
            case ast.Call(func=ast.Name(id=name) as called):
                found = self._scopes.get(id(called))
                return not (name in _CALLS and found is not None and found.owner is None)
            case ast.Call(func=ast.Attribute(attr=name)):
                return name not in _METHODS
            case ast.Subscript(value=value, slice=index):
                return not (isinstance(index, ast.Slice) or self._is_of_the_answer(value))
        return not isinstance(node, _CONTAINERS | ast.BinOp)

    def _variable_may_be(self, name: str, wanted: tuple[bool, ...]) -> bool:
        if name in self._unknown or (name not in self._bound and name != self._answer):
            return True
        if name in self._following:  # its other values decide
            return False
        self._following.add(name)
        try:
            return any(self.may_be(value, wanted) for value in self._bound[name])
        finally:
            self._following.discard(name)

    def _is_of_the_answer(self, node: ast.expr) -> bool:
        """Whether this is the answer, or an element of it, so that its elements are no bools."""
        while isinstance(node, ast.Subscript):
            node = node.value
        return isinstance(node, ast.Name) and node.id == self._answer and node.id not in self._unknown


def _bindings(function: ast.FunctionDef) -> tuple[dict[str, list[ast.expr]], set[int]]:
    """The values that plain assignments and defaults give to names, and the identities of the nodes that bind them."""
    bound: dict[str, list[ast.expr]] = defaultdict(list)
    understood = set()
    for argument, default in with_defaults(function.args):
        bound[argument.arg].append(default)
    for node in own_nodes(function):
        match node:
            case ast.Assign(targets=targets, value=ast.expr() as value):
                pass
            case (
                ast.AnnAssign(target=target, value=ast.expr() as value)
                | ast.NamedExpr(target=target, value=value)
            ):
                targets = [target]
            case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=changed):
                targets, value = [target], ast.BinOp(ast.Name(name, ast.Load()), op, changed)
            case _:
                continue
        for bound_to in targets:
            if isinstance(bound_to, ast.Name):
                bound[bound_to.id].append(value)
                understood.add(id(bound_to))
    return bound, understood
