"""One canonical form for puzzles that differ only in how they are written; the firewall compares it.

A puzzle that was copied and disguised keeps its computation. So the form forgets what a writer may choose freely:
names and constants (as `shape.abstract_form` does), the order of operands and of parameters, the direction of
comparisons, the place of a negation, `bool()` and `== True`, brackets of comprehensions, variables used once or never,
whether `False` results from `return`, `assert` or `and`, an inner function that holds the whole body, and `a - b == 0`
for `a == b`. It serves comparison only: it forgets more than Python's semantics allow (`+` of strings has an order),
and is never run.
"""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from functools import partial

from t5x_selfprog.puzzles.scopes import Occurrence, occurrences, with_defaults
from t5x_selfprog.puzzles.shape import ConstantsToTypes, constant_kind
from t5x_selfprog.puzzles.source import SourceError, bare_tree, unparse
from t5x_selfprog.puzzles.trees import Transformer, children, copied, size, walk

_COMMUTATIVE = (ast.Add, ast.Mult, ast.BitAnd, ast.BitOr, ast.BitXor)
_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Is: ast.IsNot, ast.In: ast.NotIn,
    ast.NotEq: ast.Eq, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.IsNot: ast.Is, ast.NotIn: ast.In,
}  # fmt: skip
_CONSUMERS = {"all", "any", "sum", "min", "max", "set", "list", "tuple", "sorted", "frozenset"}
_ROUNDS = 8  # of inlining and folding, each of which may enable the other


@functools.lru_cache(maxsize=4096)  # every comparison of the same text asks for it again
def canonical_form(source: str, constant_defaults: bool = False) -> str:
    """The form as text, to read and compare: `def f(v0: List[int], v1=<int>): ...`. Raises SourceError.

    `constant_defaults` replaces parameters by their defaults, to match a copy that has constants in their place.
    """
    try:
        tree = copied(_simplified(source))
        if constant_defaults:  # not earlier: a default of 0 would vanish from a sum, but one of 3 would not
            _put_defaults(tree)
            tree = copied(tree)
        _sort_operands(tree)
        _rename(tree)
        return unparse(ConstantsToTypes().visit(tree))
    except RecursionError as error:
        raise SourceError("nested too deeply") from error


@functools.lru_cache(maxsize=1)  # both forms of a text are asked for, one after the other
def _simplified(source: str) -> ast.Module:
    """The tree after all rules that do not depend on order and names; not to be changed."""
    tree = bare_tree(source, keep_answer=True)
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
        raise SourceError("must be one function to be compared")
    after = size(tree)
    for _ in range(_ROUNDS):
        before = after
        _unwrap(tree)
        _fold_bodies(tree)
        tree = _Plainer().visit(tree)
        _inline(tree)
        after = size(tree)
        if after == before:
            break
    return tree


def outline_tokens(source: str) -> list[str]:
    """The tokens of the form's body, with all names alike, in which common runs of tokens are sought."""
    _, _, body = canonical_form(source).partition("\n")
    return [_NAME.sub("v", token) for token in _TOKEN.findall(body)]


_TOKEN = re.compile(r"<\w[^<>]*>|\w+|[=!<]=|\*\*|//|<<|>>|[^\w\s]")
_NAME = re.compile(r"^v\d+$")


# Statements.


def _unwrap(tree: ast.Module) -> None:
    """Replaces an inner function by its body, if only the final return statement calls it."""
    (outer,) = tree.body
    assert isinstance(outer, ast.FunctionDef)
    match outer.body:
        case [*before, ast.FunctionDef(name=name, args=taken) as inner, ast.Return(value=ast.Call() as call)]:
            called = isinstance(call.func, ast.Name) and call.func.id == name
            uses = sum(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))
            if called and uses == 1 and (given := _given(taken, call, inner.body)) is not None:
                outer.body = [*before, *(_Renamed(given).visit(statement) for statement in inner.body)]


def _given(
    taken: ast.arguments, call: ast.Call, body: Sequence[ast.stmt | ast.expr]
) -> dict[str, ast.expr] | None:
    """The argument of each parameter in a call; None if that is not obvious."""
    plain = not (taken.posonlyargs or taken.kwonlyargs or taken.vararg or taken.kwarg or call.keywords)
    starred = any(isinstance(value, ast.Starred) for value in call.args)
    if not plain or starred or len(taken.args) != len(call.args):
        return None
    given = {argument.arg: value for argument, value in zip(taken.args, call.args, strict=True)}
    return None if given.keys() & _set_in(body) else given


def _set_in(body: Sequence[ast.stmt | ast.expr]) -> set[str]:
    """Names that are bound in a body, including its comprehensions and inner functions."""
    return {one.name for node in body for one in occurrences(node) if one.binds}


class _Renamed(Transformer):
    """Replaces names that are read by expressions."""

    def __init__(self, given: dict[str, ast.expr]) -> None:
        self._given = given

    def visit_Name(self, node: ast.Name) -> ast.expr:
        reads = isinstance(node.ctx, ast.Load) and node.id in self._given
        return copied(self._given[node.id]) if reads else node


def _put_defaults(tree: ast.Module) -> None:
    """Replaces parameters that are never rebound by their defaults."""
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    arguments = function.args
    needed = len(arguments.args) - len(arguments.defaults)
    own = _set_in(function.body)
    with_default = with_defaults(arguments)
    values = {argument.arg: default for argument, default in with_default if argument.arg not in own}
    function.body = [_Renamed(values).visit(statement) for statement in function.body]
    kept = [(argument, default) for argument, default in with_default if argument.arg in own]
    arguments.args = [*arguments.args[:needed], *(argument for argument, _ in kept)]
    arguments.defaults = [default for _, default in kept]


def _fold_bodies(tree: ast.Module) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body = _folded(node.body)


def _folded(body: list[ast.stmt]) -> list[ast.stmt]:
    """Merges the last statements of a function into one `return`, if they only decide what it returns."""
    body = [statement for statement in body if not isinstance(statement, ast.Pass)] or body
    if body and isinstance(body[-1], ast.If):
        last = body[-1]
        yes, no = _only_value(_folded(last.body)), _only_value(_folded(last.orelse))
        if yes is not None and no is not None:
            body = [*body[:-1], ast.Return(ast.IfExp(last.test, yes, no))]
    while len(body) > 1 and (value := _only_value(body[-1:])) is not None:
        found = _decided(body[-2], value)
        if found is None:
            break
        body = [*body[:-2], ast.Return(found)]
    return body


def _only_value(body: list[ast.stmt]) -> ast.expr | None:
    return body[0].value if len(body) == 1 and isinstance(body[0], ast.Return) else None


def _decided(statement: ast.stmt, otherwise: ast.expr) -> ast.expr | None:
    """What a statement followed by `return otherwise` returns; None if that cannot be one expression."""
    match statement:
        case ast.Assert(test=test):
            return ast.BoolOp(ast.And(), [test, otherwise])
        case ast.If(test=test, body=body, orelse=[]) if (value := _only_value(_folded(body))) is not None:
            return ast.IfExp(test, value, otherwise)
        case ast.For(
            target=target,
            iter=iterable,
            body=[ast.If(test=test, body=[ast.Return(value=ast.Constant(value=bool(said)))], orelse=[])],
            orelse=[],
        ):
            kept = test if said else _negated(test)
            generator = ast.GeneratorExp(kept, [ast.comprehension(target, iterable, [], 0)])
            found = ast.Call(ast.Name("any" if said else "all", ast.Load()), [generator], [])
            return ast.BoolOp(ast.Or() if said else ast.And(), [found, otherwise])
    return None


def _inline(tree: ast.Module) -> None:
    """Replaces a variable that is assigned once and read once by its value; drops one that is never read."""
    binds: Counter[Hashable] = Counter()
    reads: dict[Hashable, list[ast.AST]] = defaultdict(list)
    owners: dict[int, Hashable] = {}
    for found in occurrences(tree):
        key = (found.owner, found.name)
        owners[id(found.node)] = key
        if found.binds:
            binds[key] += 1
        else:
            reads[key].append(found.node)
    values: dict[int, ast.expr] = {}
    dropped: set[int] = set()
    for node in walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name() as target], value=value):
                assigned = owners[id(target)]
                if binds[assigned] != 1 or len(reads[assigned]) > 1:
                    continue
                if reads[assigned] and not values:  # one at a time, because its value may contain the next
                    values[id(reads[assigned][0])] = value
                    dropped.add(id(node))
                elif not reads[assigned]:
                    dropped.add(id(node))
    _Substitute(values, dropped).visit(tree)


class _Substitute(Transformer):
    def __init__(self, values: dict[int, ast.expr], dropped: set[int]) -> None:
        self._values, self._dropped = values, dropped

    def visit(self, node: ast.AST) -> ast.AST | None:
        if id(node) in self._dropped:
            return None
        return self._values.get(id(node)) or self.generic_visit(node)


# Expressions.


class _Plainer(Transformer):
    """Plain truth values: no `bool()`, no double negation, one direction of comparison, chains as `and`."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.Call(func=ast.Name(id="bool"), args=[value], keywords=[]):
                return value
            case ast.Call(func=ast.Name(id=name), args=[ast.ListComp() as items, *_]) if name in _CONSUMERS:
                node.args[0] = ast.GeneratorExp(items.elt, items.generators)
            case ast.Call(func=ast.Lambda(args=taken, body=body)) if (
                given := _given(taken, node, [body])
            ) is not None:
                return _Renamed(given).visit(body)
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        self.generic_visit(node)
        return self._again(_negated(node.operand)) if isinstance(node.op, ast.Not) else node

    def _again(self, node: ast.expr) -> ast.expr:
        return node if isinstance(node, ast.UnaryOp) else self.visit(node)

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.IfExp(test=test, body=ast.Constant(value=True), orelse=other):
                found: ast.expr = ast.BoolOp(ast.Or(), [test, other])
            case ast.IfExp(test=test, body=ast.Constant(value=False), orelse=other):
                found = ast.BoolOp(ast.And(), [_negated(test), other])
            case ast.IfExp(test=test, body=value, orelse=ast.Constant(value=False)):
                found = ast.BoolOp(ast.And(), [test, value])
            case ast.IfExp(test=test, body=value, orelse=ast.Constant(value=True)):
                found = ast.BoolOp(ast.Or(), [_negated(test), value])
            case _:
                return node
        return self.visit(found)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.expr:
        self.generic_visit(node)
        values: list[ast.expr] = []
        neutral = isinstance(node.op, ast.And)
        for value in node.values:
            if isinstance(value, ast.BoolOp) and isinstance(value.op, type(node.op)):
                values += value.values
            elif not (isinstance(value, ast.Constant) and value.value is neutral):
                values.append(value)
        if not values:
            return ast.Constant(neutral)
        return values[0] if len(values) == 1 else ast.BoolOp(node.op, values)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        match node:
            case ast.BinOp(left=value, op=ast.Add() | ast.Sub(), right=ast.Constant(value=0)):
                return value
            case ast.BinOp(left=ast.Constant(value=0), op=ast.Add(), right=value):
                return value
            case ast.BinOp(left=value, op=ast.Mult(), right=ast.Constant(value=1)):
                return value
            case ast.BinOp(left=ast.Constant(value=1), op=ast.Mult(), right=value):
                return value
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        left, parts = node.left, []
        for operator, right in zip(node.ops, node.comparators, strict=True):
            parts.append(_compared(left, operator, right))
            left = right
        return parts[0] if len(parts) == 1 else self.visit_BoolOp(ast.BoolOp(ast.And(), parts))


def _compared(left: ast.expr, operator: ast.cmpop, right: ast.expr) -> ast.expr:
    for value, other in ((left, right), (right, left)):
        if isinstance(other, ast.Constant) and isinstance(other.value, bool):
            if isinstance(operator, ast.Eq | ast.Is):
                return value if other.value else _negated(value)
            if isinstance(operator, ast.NotEq | ast.IsNot):
                return _negated(value) if other.value else value
    match left, right:
        case ast.BinOp(left=more, op=ast.Sub(), right=less), ast.Constant(value=0):
            return _compared(more, operator, less)
        case ast.Constant(value=0), ast.BinOp(left=more, op=ast.Sub(), right=less):
            return _compared(less, operator, more)
    if isinstance(operator, ast.Gt | ast.GtE):
        return ast.Compare(right, [ast.Lt() if isinstance(operator, ast.Gt) else ast.LtE()], [left])
    return ast.Compare(left, [operator], [right])


def _negated(node: ast.expr) -> ast.expr:
    """Not `node`, with the negation pushed inwards as far as it goes."""
    match node:
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return operand
        case ast.Constant(value=bool(value)):
            return ast.Constant(not value)
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            return _compared(left, _OPPOSITE[type(operator)](), right)
        case ast.Compare():
            return _negated(_Plainer().visit_Compare(node))
        case ast.BoolOp(op=operator, values=values):
            other = ast.Or() if isinstance(operator, ast.And) else ast.And()
            return ast.BoolOp(other, [_negated(value) for value in values])
        case ast.Call(
            func=ast.Name(id=("all" | "any") as name), args=[ast.GeneratorExp() as items], keywords=[]
        ):
            inner = ast.GeneratorExp(_negated(items.elt), items.generators)
            return ast.Call(ast.Name("any" if name == "all" else "all", ast.Load()), [inner], [])
    return ast.UnaryOp(ast.Not(), node)


# Order and names.


def _sort_operands(tree: ast.Module) -> None:
    """Sorts operands whose order is irrelevant by their text, in which names stand for their roles and uses."""
    named = {id(found.node): found for found in occurrences(tree) if found.owner is not None}
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    roles = (
        {argument.arg: "P" for argument in function.args.args} | {function.args.args[0].arg: "A"}
        if function.args.args
        else {}
    )

    def role(found: Occurrence) -> str:
        return (
            roles.get(found.name, "L") if found.owner is not None and found.owner.kind == "function" else "L"
        )

    def plain(node: ast.AST) -> str | None:
        return role(named[id(node)]) if id(node) in named else None

    # A variable is identified by its company: the expressions it occurs in, written with roles alone.
    company: dict[Hashable, list[str]] = defaultdict(list)
    for parent in walk(tree):
        for node in children(parent):
            if (found := named.get(id(node))) is not None:
                marked = partial(lambda at, n: "*" if n is at else plain(n), node)
                company[found.owner, found.name].append(_text(parent, marked))
    colours = {key: "|".join(sorted(texts)) for key, texts in company.items()}

    def coloured(node: ast.AST) -> str | None:
        found = named.get(id(node))
        return None if found is None else role(found) + colours.get((found.owner, found.name), "")

    _sort(tree, lambda node: _text(node, coloured))


def _sort(node: ast.AST, key: Callable[[ast.AST], str]) -> None:
    for child in children(node):
        _sort(child, key)
    match node:
        case ast.BoolOp():
            node.values.sort(key=key)
        case ast.Compare(ops=[ast.Eq() | ast.NotEq()]):
            node.left, node.comparators[0] = sorted([node.left, node.comparators[0]], key=key)
        case ast.BinOp(op=operator) if isinstance(operator, _COMMUTATIVE):
            operands = sorted(_operands(node, type(operator)), key=key)
            node.right = operands.pop()
            left = operands[0]
            for operand in operands[1:]:
                left = ast.BinOp(left, operator, operand)
            node.left = left
        case ast.Set():
            node.elts.sort(key=key)


def _operands(node: ast.expr, operator: type[ast.operator]) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, operator):
        return [*_operands(node.left, operator), *_operands(node.right, operator)]
    return [node]


def _text(node: ast.AST | list | object, name: Callable[[ast.AST], str | None]) -> str:
    """A tree as text, with constants as their types and names as given by `name`."""
    if isinstance(node, list):
        return "[" + ",".join(_text(item, name) for item in node) + "]"
    if not isinstance(node, ast.AST):
        return str(node)
    if isinstance(node, ast.expr) and (kind := constant_kind(node)) is not None:
        return f"<{kind}>"
    called = name(node)
    if called is not None and isinstance(node, ast.Name | ast.arg):
        return called
    match node:
        case ast.BoolOp(op=operator, values=operands):
            return _unordered(operator, operands, name)
        case ast.Compare(left=left, ops=[(ast.Eq() | ast.NotEq()) as compared], comparators=[right]):
            return _unordered(compared, [left, right], name)
        case ast.BinOp(op=operator) if isinstance(operator, _COMMUTATIVE):
            return _unordered(operator, _operands(node, type(operator)), name)
        case ast.Set(elts=operands):
            return _unordered(node, operands, name)
    fields = ",".join(
        _text(value, name)
        for key, value in ast.iter_fields(node)
        if key not in ("ctx", "kind", "type_comment")
    )
    return f"{type(node).__name__}({fields})"


def _unordered(what: ast.AST, operands: list[ast.expr], name: Callable[[ast.AST], str | None]) -> str:
    return f"{type(what).__name__}{sorted(_text(operand, name) for operand in operands)}"


def _rename(tree: ast.Module) -> None:
    """Numbers names by first appearance in the body, sorts parameters likewise after the answer, drops unread ones."""
    (function,) = tree.body
    assert isinstance(function, ast.FunctionDef)
    found = [(one, one.owner) for one in occurrences(tree)]
    pinned = {(owner, one.name) for one, owner in found if one.field == ""}
    numbers: dict[Hashable, int] = {}
    signature = {id(argument) for argument in function.args.args}
    first = [one for one in found if id(one[0].node) in signature][:1]
    body = [one for one in found if id(one[0].node) not in signature and one[0].node is not function]
    for one, owner in first + body:
        if owner is not None and owner.kind != "module" and (owner, one.name) not in pinned:
            numbers.setdefault((owner, one.name), len(numbers))
    for one, owner in found:
        if (owner, one.name) in numbers:
            setattr(one.node, one.field, f"v{numbers[owner, one.name]}")
    arguments = function.args
    if not arguments.args:
        return
    needed = len(arguments.args) - len(arguments.defaults)
    defaults = [None] * needed + list(arguments.defaults)
    rest = [
        (int(argument.arg[1:]), argument, default)
        for argument, default in list(zip(arguments.args, defaults, strict=True))[1:]
        if argument.arg.startswith("v") and argument.arg[1:].isdecimal() and default is not None
    ]
    rest.sort(key=lambda one: one[0])
    arguments.args = arguments.args[:1] + [argument for _, argument, _ in rest]
    arguments.defaults = [default for _, _, default in rest]
