"""Puzzles in disguise: edits that a writer may make to a copy, to measure which of them the firewall sees through.

Each disguise takes the tree of one function `f` and returns another that accepts the same answers (except `constants`,
which makes another puzzle of the same kind), or None where it does not apply.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator

from t5x_selfprog.puzzles.scopes import occurrences, with_defaults
from t5x_selfprog.puzzles.source import parse, unparse

Disguise = Callable[[ast.FunctionDef], ast.FunctionDef | None]

_MIRRORED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.Eq, ast.NotEq: ast.NotEq, ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE,
}  # fmt: skip
_WORDS = ("alpha", "beta", "gamma", "delta", "item", "size", "left", "right", "goal", "count")


def names(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Renames all variables."""
    found = [
        one
        for one in occurrences(ast.Module([function], []))
        if one.owner is not None and one.owner.kind != "module"
    ]
    called: dict[tuple, str] = {}
    for one in found:
        called.setdefault((one.owner, one.name), f"{_WORDS[len(called) % len(_WORDS)]}_{len(called)}")
    for one in found:
        if one.field:
            setattr(one.node, one.field, called[one.owner, one.name])
    return function


def constants(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Replaces numbers and strings by others of the same types."""
    changed = False
    for node in ast.walk(function):
        match node:
            case ast.Constant(value=bool() | None):
                continue
            case ast.Constant(value=str(text)):
                node.value, changed = text + "x", True
            case ast.Constant(value=(int() | float()) as number):
                node.value, changed = number + 3, True
    return function if changed else None


class _Swapper(ast.NodeTransformer):
    changed = False

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        if len(node.ops) == 1 and type(node.ops[0]) in _MIRRORED:
            self.changed = True
            return ast.Compare(node.comparators[0], [_MIRRORED[type(node.ops[0])]()], [node.left])
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.op, ast.Mult):
            self.changed = True
            return ast.BinOp(node.right, node.op, node.left)
        return node


def operands(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Swaps the operands of comparisons and products."""
    swapper = _Swapper()
    swapper.visit(function)
    return function if swapper.changed else None


def _on_returns(function: ast.FunctionDef, change: Callable[[ast.expr], ast.expr]) -> ast.FunctionDef | None:
    found = False
    for node in _own(function):
        if isinstance(node, ast.Return) and node.value is not None:
            node.value, found = change(node.value), True
    return function if found else None


def _own(function: ast.FunctionDef) -> Iterator[ast.AST]:
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.Lambda):
            stack.extend(ast.iter_child_nodes(node))


def _call(name: str, value: ast.expr) -> ast.expr:
    return ast.Call(ast.Name(name, ast.Load()), [value], [])


def truth(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Wraps what is returned in `bool()`."""
    return _on_returns(function, lambda value: _call("bool", value))


def negation(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Wraps what is returned in two negations."""
    return _on_returns(function, lambda value: ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), value)))


def is_true(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Appends `== True` to what is returned."""
    return _on_returns(function, lambda value: ast.Compare(value, [ast.Eq()], [ast.Constant(True)]))


def local(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Assigns what the last statement returns to a variable first."""
    last = function.body[-1]
    if not isinstance(last, ast.Return) or last.value is None:
        return None
    assign = ast.Assign([ast.Name("outcome_", ast.Store())], last.value, lineno=0)
    function.body[-1:] = [assign, ast.Return(ast.Name("outcome_", ast.Load()))]
    return function


def early(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Turns a conjunction into a series of `if not ...: return False`."""
    last = function.body[-1]
    if not isinstance(last, ast.Return) or not isinstance(last.value, ast.BoolOp):
        return None
    if not isinstance(last.value.op, ast.And):
        return None
    *first, rest = last.value.values
    function.body[-1:] = [
        *(ast.If(ast.UnaryOp(ast.Not(), test), [ast.Return(ast.Constant(False))], []) for test in first),
        ast.Return(rest),
    ]
    return function


def asserted(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Asserts what the last statement returns, then returns True."""
    last = function.body[-1]
    if not isinstance(last, ast.Return) or last.value is None:
        return None
    function.body[-1:] = [ast.Assert(last.value), ast.Return(ast.Constant(True))]
    return function


def branches(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Returns True or False from the branches of an `if`."""
    last = function.body[-1]
    if not isinstance(last, ast.Return) or last.value is None:
        return None
    yes, no = ast.Return(ast.Constant(True)), ast.Return(ast.Constant(False))
    function.body[-1:] = [ast.If(last.value, [yes], [no])]
    return function


def dead(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Adds an unused variable."""
    function.body.insert(0, ast.Assign([ast.Name("spare_", ast.Store())], ast.Constant(5), lineno=0))
    return function


def loop(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Turns `return all(...)` into a loop."""
    match function.body[-1]:
        case ast.Return(
            value=ast.Call(
                func=ast.Name(id="all"),
                args=[ast.GeneratorExp(elt=test, generators=[ast.comprehension(ifs=[]) as part])],
            )
        ):
            inner = ast.If(ast.UnaryOp(ast.Not(), test), [ast.Return(ast.Constant(False))], [])
            function.body[-1:] = [
                ast.For(part.target, part.iter, [inner], [], lineno=0),
                ast.Return(ast.Constant(True)),
            ]
            return function
    return None


def inlined(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Replaces parameters in the body by their default values."""
    arguments = function.args
    if not arguments.defaults:
        return None
    values = {argument.arg: default for argument, default in with_defaults(arguments)}
    if any(
        isinstance(n, ast.Name) and n.id in values and not isinstance(n.ctx, ast.Load)
        for n in ast.walk(function)
    ):
        return None

    class Put(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return copy.deepcopy(values[node.id]) if node.id in values else node

    function.body = [Put().visit(statement) for statement in function.body]
    arguments.args, arguments.defaults = arguments.args[: -len(values)], []
    return function


def helper(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Moves the whole body into an inner function."""
    inner = ast.FunctionDef("helper_", _plain([]), function.body, [], lineno=0)
    function.body = [inner, ast.Return(ast.Call(ast.Name("helper_", ast.Load()), [], []))]
    return function


def passed(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Moves the whole body into an inner function that takes the parameters."""
    arguments = function.args
    inner = ast.FunctionDef(
        "helper_", _plain([one.arg for one in arguments.args]), function.body, [], lineno=0
    )
    given: list[ast.expr] = [ast.Name(one.arg, ast.Load()) for one in arguments.args]
    function.body = [inner, ast.Return(ast.Call(ast.Name("helper_", ast.Load()), given, []))]
    return function


def anonymous(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Returns the result of a named lambda."""
    last, answer = function.body[-1], function.args.args[0].arg
    if not isinstance(last, ast.Return) or last.value is None:
        return None
    assign = ast.Assign([ast.Name("fits_", ast.Store())], ast.Lambda(_plain([answer]), last.value), lineno=0)
    asked = ast.Call(ast.Name("fits_", ast.Load()), [ast.Name(answer, ast.Load())], [])
    function.body[-1:] = [assign, ast.Return(asked)]
    return function


def spare(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Adds an unused parameter."""
    function.args.args.append(ast.arg("spare_"))
    function.args.defaults.append(ast.Constant(5))
    return function


def demorgan(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Turns a conjunction into the negation of a disjunction of negations."""
    match function.body[-1]:
        case ast.Return(value=ast.BoolOp(op=ast.And(), values=values)):
            negated: list[ast.expr] = [ast.UnaryOp(ast.Not(), value) for value in values]
            function.body[-1] = ast.Return(ast.UnaryOp(ast.Not(), ast.BoolOp(ast.Or(), negated)))
            return function
    return None


def _plain(names_: list[str]) -> ast.arguments:
    return ast.arguments([], [ast.arg(name) for name in names_], None, [], [], None, [])


def difference(function: ast.FunctionDef) -> ast.FunctionDef | None:
    """Turns a final numeric equation into a difference that equals zero."""
    match function.body[-1]:
        case ast.Return(value=ast.Compare(left=left, ops=[ast.Eq()], comparators=[right])) if not any(
            isinstance(part, ast.Constant | ast.List | ast.JoinedStr)
            and not isinstance(getattr(part, "value", ""), int)
            for part in (left, right)
        ):
            gap = ast.BinOp(left, ast.Sub(), right)
            function.body[-1] = ast.Return(ast.Compare(gap, [ast.Eq()], [ast.Constant(0)]))
            return function
    return None


KINDS: dict[str, tuple[Disguise, ...]] = {
    "copy": (),
    "names": (names,),
    "constants": (constants,),
    "names, constants": (names, constants),
    **{
        f"names, {made.__name__}": (made, names)
        for made in (
            operands, truth, negation, is_true, local, early, asserted, branches, dead, loop, inlined, helper,
            difference, passed, anonymous, spare, demorgan,
        )
    },
    "names, constants, operands": (operands, names, constants),
    "names, constants, truth": (truth, names, constants),
    "names, constants, local": (local, names, constants),
    "names, constants, early, operands, local": (early, operands, local, names, constants),
    "names, constants, helper": (helper, names, constants),
    "names, constants, passed": (passed, names, constants),
    "names, constants, anonymous": (anonymous, names, constants),
    "names, inlined, operands": (inlined, operands, names),
    "names, operands, truth, local, dead": (truth, operands, local, dead, names),
}  # fmt: skip


def disguise(source: str, kind: str) -> str | None:
    """`source` in a disguise of KINDS; None where it does not apply."""
    (function,) = parse(source).body
    assert isinstance(function, ast.FunctionDef)
    found: ast.FunctionDef | None = function
    for made in KINDS[kind]:
        found = made(found) if found is not None else None
    return None if found is None else unparse(ast.fix_missing_locations(ast.Module([found], [])))
