"""Takes a test apart: what it asks of a function, and what it says of the answers.

`assert add(2, 3) == 5` becomes `answer_1 = ask(add(2, 3))` for the process of the solution, where no answer is
known, and `answer_1 = next(answers)`, `assert answer_1 == 5` for the process that checks, where no solution ever ran.
Statements around the calls (loops, assignments, imports) go to the checking side as they are, and to the asking side as
far as the calls' arguments depend on them.
"""

import ast
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from verifier.errors import UserError

ASK, ANSWERS, ANSWER = "verifier_ask", "verifier_answers", "verifier_answer_"

_BODIES = ("body", "orelse", "finalbody")
_INNER = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Lambda,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
)


class SuiteError(UserError):
    """Tests that cannot be taken apart, or of no known form; the message quotes the part at fault."""


class Sides(NamedTuple):
    """asking: statements that call, and pass every answer to ASK. checking: those that take answers from ANSWERS."""

    asking: list[ast.stmt]
    checking: list[ast.stmt]


def take_apart(statements: list[ast.stmt], callees: Iterable[str]) -> Sides:
    """Both sides of a test that calls functions of these names, which all mean the solution's one function.

    Raises SuiteError where a call stands in a comprehension, a lambda, a function of the test's own, a `try`, `with` or
    `match`, or the condition of a `while`, or where the function is used without being called. What a call does to its
    arguments stays in its process: a test that looks at them afterwards finds them unchanged.
    """
    apart = _Apart(frozenset(callees))
    checking = [statement for old in statements for statement in apart.checking(old)]
    if not apart.count:
        raise SuiteError(f"no test calls {' or '.join(sorted(apart.callees))}")
    needed: set[str] = set()
    while True:
        asking = [statement for new in checking if (statement := _asking(new, needed)) is not None]
        found = {name for statement in asking for name in _names(statement)}
        if found <= needed:
            return Sides(asking, [_taking(statement) for statement in checking])
        needed |= found


# The calls are first cut out of expressions, as assignments of their own: `answer = ask(f(...))`.


class _Apart(ast.NodeTransformer):
    def __init__(self, callees: frozenset[str]):
        self.callees = callees
        self.count = 0
        self._calls: list[ast.stmt] = []

    def checking(self, statement: ast.stmt) -> list[ast.stmt]:
        """The statement with its calls before it."""
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self._refuse_within(statement)
            return [statement]
        if isinstance(statement, ast.Try | ast.With | ast.AsyncWith | ast.Match):
            self._refuse_within(statement)
            return [statement]
        outer, self._calls = self._calls, []
        for name, value in ast.iter_fields(statement):
            if name in _BODIES:
                continue
            before = len(self._calls)
            if isinstance(value, ast.AST):
                setattr(statement, name, self.visit(value))
            elif isinstance(value, list):
                setattr(statement, name, [self.visit(v) if isinstance(v, ast.AST) else v for v in value])
            if len(self._calls) > before and isinstance(statement, ast.While):
                raise SuiteError(f"a loop that asks the function how long to go on: {_quote(statement.test)}")
        calls, self._calls = self._calls, outer
        for name in _BODIES:
            if isinstance(getattr(statement, name, None), list):
                setattr(
                    statement, name, [new for old in getattr(statement, name) for new in self.checking(old)]
                )
        return [*calls, statement]

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if not (isinstance(node.func, ast.Name) and node.func.id in self.callees):
            self.generic_visit(node)
            return node
        node.args = [self.visit(argument) for argument in node.args]
        node.keywords = [self.visit(keyword) for keyword in node.keywords]
        self.count += 1
        name = f"{ANSWER}{self.count}"
        asked = ast.Call(ast.Name(ASK, ast.Load()), [node], [])
        self._calls.append(ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], asked), node))
        return ast.copy_location(ast.Name(name, ast.Load()), node)

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if node.id in self.callees and isinstance(node.ctx, ast.Load):
            raise SuiteError(f"{node.id} is used without being called")
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, _INNER):
            self._refuse_within(node)
            return node
        return super().generic_visit(node)

    def _refuse_within(self, node: ast.AST) -> None:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and inner.id in self.callees:
                raise SuiteError(
                    f"{inner.id} is called inside {_quote(node)}, where calls cannot be taken out"
                )


def _is_asked(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Assign) else None
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == ASK


def _taking(statement: ast.stmt) -> ast.stmt:
    """For the checking side: the answers are taken, not asked for."""
    for inner in ast.walk(statement):
        if isinstance(inner, ast.Assign) and _is_asked(inner):
            inner.value = ast.Call(ast.Name("next", ast.Load()), [ast.Name(ANSWERS, ast.Load())], [])
    return statement


def _asking(statement: ast.stmt, needed: set[str]) -> ast.stmt | None:
    """A copy of what calls, or binds a needed name, in the statement; None if nothing does."""
    if _is_asked(statement):
        return _copy(statement)
    if isinstance(statement, ast.For | ast.While | ast.If):
        whole = _copy(statement)
        kept = 0
        for name in _BODIES:
            old = getattr(whole, name, None)
            if isinstance(old, list):
                new = [found for inner in old if (found := _asking(inner, needed)) is not None]
                kept += sum(not isinstance(inner, ast.Break | ast.Continue) for inner in new)
                setattr(whole, name, new or ([ast.Pass()] if name == "body" else []))
        if isinstance(whole, ast.For):
            _hide(whole.target, whole, needed)
        return whole if kept else None
    if isinstance(statement, ast.Break | ast.Continue):
        return _copy(statement)
    if isinstance(statement, ast.Assert | ast.Return | ast.Pass):
        return None
    bound = set(_bound(statement))
    if isinstance(statement, ast.Expr):  # `random.seed(0)`, `items.append(1)`: it may change what it names
        bound = set(_names(statement))
    return _copy(statement) if bound & needed else None


def _hide(target: ast.expr, loop: ast.For, needed: set[str]) -> None:
    """`for x, y in [(1, 2), ...]`, `in zip(xs, ys)`, where no argument depends on y: the asking side gets no ys."""
    holder: list = [loop.iter]
    inner = holder[0]
    while (
        _is_call(inner, "enumerate")
        and isinstance(target, ast.Tuple)
        and len(target.elts) == 2
        and inner.args
    ):
        target, holder, inner = target.elts[1], inner.args, inner.args[0]
    if not isinstance(target, ast.Tuple) or not all(isinstance(part, ast.Name) for part in target.elts):
        return
    unneeded = [
        i for i, part in enumerate(target.elts) if isinstance(part, ast.Name) and part.id not in needed
    ]
    if not unneeded or len(unneeded) == len(target.elts):
        return
    kept = next(i for i in range(len(target.elts)) if i not in unneeded)
    if _is_call(inner, "zip") and len(inner.args) == len(target.elts):
        inner.args = [
            inner.args[kept] if i in unneeded else argument for i, argument in enumerate(inner.args)
        ]
    elif isinstance(inner, ast.List | ast.Tuple):
        for row in inner.elts:
            if isinstance(row, ast.Tuple | ast.List) and len(row.elts) == len(target.elts):
                row.elts = [ast.Constant(None) if i in unneeded else part for i, part in enumerate(row.elts)]


def _is_call(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a simple statement, a function or a class binds."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        for alias in statement.names:
            yield (alias.asname or alias.name).partition(".")[0]
    else:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
                yield node.id
            elif isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
                base = node.value
                while isinstance(base, ast.Subscript | ast.Attribute):
                    base = base.value
                if isinstance(base, ast.Name):
                    yield base.id


def _names(node: ast.AST) -> Iterator[str]:
    """The names that are read in it."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load):
            yield inner.id


def _copy(statement: ast.stmt) -> ast.stmt:
    return ast.parse(ast.unparse(ast.fix_missing_locations(statement))).body[0]


def _quote(node: ast.AST) -> str:
    return repr(ast.unparse(node)[:80])
