"""Extracts the self-contained functions of a Python file: short, and needing only their arguments.

They resemble the loop's own programs, so a pretraining corpus repeats them. Their source is unparsed from the syntax
tree: one style, no comments. There are four ways to obtain one, all from code that is in the file:

  a function as it is             without annotations whose names the function itself does not define
  with imports                    `import math` and the like moved into the body
  with a helper                   the file's other short functions that it calls, before it
  a method                        without `self`; attributes that it only reads become arguments
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import pickle
import re
import symtable
import warnings
from collections.abc import Iterator

LINES = (2, 25)  # of a function; with its helpers and examples, at most MAX_SNIPPET_LINES
MAX_SNIPPET_LINES = 50
MAX_LINE_CHARS = 160
MAX_DOCSTRING_LINES = 80  # in addition to the lines of the function
MAX_TEST_LINES = 120
MIN_NODES = 14  # a body larger than `return x`
MIN_METHOD_NODES = 40  # attributes become arguments only if something is computed from them
MAX_EXAMPLES = 6

TYPING_NAMES = frozenset(("List", "Dict", "Set", "Tuple", "Optional", "Union", "Any", "Callable", "Iterable"))
# Puzzles do not read files, stop the interpreter or talk to a terminal.
UNWANTED_NAMES = frozenset(
    (
        "open",
        "input",
        "exit",
        "quit",
        "help",
        "breakpoint",
        "exec",
        "eval",
        "compile",
        "globals",
        "locals",
        "vars",
    )
)
KNOWN_NAMES = (
    frozenset(n for n in dir(builtins) if not n.startswith("__")).union(TYPING_NAMES) - UNWANTED_NAMES
)
PURE_MODULES = frozenset(
    (
        "bisect",
        "collections",
        "copy",
        "decimal",
        "fractions",
        "functools",
        "heapq",
        "itertools",
        "math",
        "operator",
    )
    + ("random", "re", "statistics", "string")
)
PLAIN_ATTRIBUTES = frozenset(
    name for kind in (str, bytes, list, dict, set, tuple, int, float) for name in dir(kind) if name[0] != "_"
)

UNITTEST_ASSERTS = {
    "assertEqual": ast.Eq, "assertEquals": ast.Eq, "assertListEqual": ast.Eq, "assertDictEqual": ast.Eq,
    "assertTupleEqual": ast.Eq, "assertSetEqual": ast.Eq, "assertSequenceEqual": ast.Eq,
    "assertNotEqual": ast.NotEq, "assertIs": ast.Is, "assertIsNot": ast.IsNot, "assertIn": ast.In,
    "assertNotIn": ast.NotIn, "assertLess": ast.Lt, "assertLessEqual": ast.LtE, "assertGreater": ast.Gt,
    "assertGreaterEqual": ast.GtE,
}  # fmt: skip

Snippet = tuple[str, str]  # (structure hash, source)


def extract(tree: ast.Module) -> tuple[list[Snippet], list[Snippet]]:
    """(functions, checks) of a file: short self-contained functions, and self-contained test functions."""
    imports = _pure_imports(tree)
    helpers = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    functions, checks = [], []
    for node in nodes_of(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        if node.name.startswith("test"):
            checks += _check(node)
        else:
            functions += _function(node, imports, helpers)
    return functions, checks


def docstring_of(node: ast.AST) -> ast.Expr | None:
    """The statement that is a module's, class's or function's docstring."""
    if (
        not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        or not node.body
    ):
        return None
    first = node.body[0]
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return first
    return None


# Fields that hold no code, or only operators and contexts.
_SKIPPED_FIELDS = frozenset(
    ("ctx", "op", "ops", "type_comment", "kind", "conversion", "type_ignores", "level", "is_async", "simple")
)
_CHILD_FIELDS: dict[type, tuple[str, ...]] = {}


def nodes_of(root: ast.AST) -> Iterator[ast.AST]:
    """Every node of a tree in textual order, except operators and contexts; faster than ast.walk."""
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        kind = type(node)
        if kind not in _CHILD_FIELDS:
            _CHILD_FIELDS[kind] = tuple(f for f in reversed(kind._fields) if f not in _SKIPPED_FIELDS)
        for field in _CHILD_FIELDS[kind]:
            value = getattr(node, field, None)
            if isinstance(value, ast.AST):
                stack.append(value)
            elif isinstance(value, list):
                stack.extend(item for item in reversed(value) if isinstance(item, ast.AST))


def structure_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[str, int]:
    """(hash, size) of a function's syntax tree; functions with the same hash are the same code.

    Arguments and local names are numbered; the function's own name, its docstring, annotations, defaults and
    decorators are left out.
    """
    numbers: dict[str, str] = {node.name: "F"}
    for name in _bound_names(node):
        numbers.setdefault(name, f"v{len(numbers)}")
    parts: list[str] = [str(len(node.args.args) + len(node.args.kwonlyargs))]

    def walk(value) -> None:
        if isinstance(value, ast.AST):
            parts.append(type(value).__name__)
            if isinstance(value, ast.Name):
                parts.append(numbers.get(value.id, value.id))
            elif isinstance(value, ast.arg):
                parts.append(numbers.get(value.arg, value.arg))
            elif isinstance(value, ast.Constant):
                parts.append(repr(value.value))
            else:
                for field in value._fields:
                    if field not in ("ctx", "type_comment", "kind", "annotation", "returns"):
                        walk(getattr(value, field, None))
        elif isinstance(value, list):
            parts.append("[")
            for item in value:
                walk(item)
            parts.append("]")
        else:
            parts.append(str(value))

    for statement in node.body[1 if docstring_of(node) else 0 :]:
        walk(statement)
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=12).hexdigest(), len(
        parts
    )


def undefined_names(node: ast.AST) -> set[str]:
    """Names a function reads that neither it nor Python's wanted builtins define (its own name is defined)."""
    bound = {getattr(node, "name", ""), *_bound_names(node)}
    loaded = {child.id for child in nodes_of(node) if isinstance(child, ast.Name)}
    return loaded - bound - KNOWN_NAMES


def _stands_alone(source: str) -> bool:
    """Whether, in every scope, the only globals read are builtins, and none is rebound.

    This asks the compiler what `undefined_names` answers faster.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            module = symtable.symtable(source, "snippet", "exec")
        except SyntaxError:
            return False
    defined = {symbol.get_name() for symbol in module.get_symbols() if symbol.is_assigned()}
    tables = list(module.get_children())
    for table in tables:
        tables.extend(table.get_children())
        for symbol in table.get_symbols():
            name = symbol.get_name()
            if symbol.is_declared_global() or (symbol.is_global() and name not in KNOWN_NAMES | defined):
                return False
    return True


def _bound_names(node: ast.AST) -> list[str]:
    """Names bound anywhere inside a function, arguments first, in order of appearance."""
    names: dict[str, None] = {}
    updated = set()  # `a += 1` needs an `a` from somewhere else
    for child in nodes_of(node):
        match child:
            case ast.Name(id=name, ctx=ast.Store()) if id(child) not in updated:
                names[name] = None
            case ast.AugAssign(target=target):
                updated.add(id(target))
            case ast.arg(arg=name):
                names[name] = None
            case ast.alias():
                names[(child.asname or child.name).split(".")[0]] = None
            case ast.ExceptHandler(name=str(name)):
                names[name] = None
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                if child is not node:
                    names[name] = None
    return list(names)


def _pure_imports(tree: ast.Module) -> dict[str, str]:
    """Names bound by the file's top-level imports of PURE_MODULES, each with a statement that binds only it."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            prefix = "import "
        elif isinstance(node, ast.ImportFrom) and node.module in PURE_MODULES and not node.level:
            prefix = f"from {node.module} import "
        else:
            continue
        for alias in node.names:
            if alias.name != "*" and (isinstance(node, ast.ImportFrom) or alias.name in PURE_MODULES):
                rename = f" as {alias.asname}" if alias.asname else ""
                found[alias.asname or alias.name] = f"{prefix}{alias.name}{rename}"
    return found


def _function(
    node: ast.FunctionDef, imports: dict[str, str], helpers: dict[str, ast.FunctionDef]
) -> list[Snippet]:
    if (
        _size(node) > LINES[1] + MAX_DOCSTRING_LINES
        or _names_of(node) - KNOWN_NAMES - imports.keys() - helpers.keys()
    ):
        return []
    plain = _alone(node, imports)
    if plain is None or not plain.args.args or plain.args.kwarg or not _returns_value(plain):
        return []
    needed = sorted(undefined_names(plain))
    prelude = []
    for name in needed:  # helpers from the same file, one level deep
        helper = _alone(helpers[name], imports) if name in helpers else None
        if helper is None or undefined_names(helper) or not _short(ast.unparse(helper)):
            return []
        prelude.append(ast.unparse(helper))
    structure, nodes = structure_of(plain)
    source = ast.unparse(plain)
    if nodes < MIN_NODES or not _short(source):
        return []
    text = "\n\n".join([*prelude, source]) + _examples(node)
    return [(structure, text)] if text.count("\n") < MAX_SNIPPET_LINES and _stands_alone(text) else []


def _copy(node):
    """A deep copy of a syntax tree, several times as fast as `copy.deepcopy`."""
    return pickle.loads(pickle.dumps(node, pickle.HIGHEST_PROTOCOL))


def _size(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _names_of(node: ast.FunctionDef) -> set[str]:
    """Names that the body reads and nothing in the function binds; a quick first check that ignores annotations."""
    loaded = {
        child.id
        for statement in node.body
        for child in nodes_of(statement)
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load)
    }
    loaded.discard(node.name)
    return loaded and loaded.difference(KNOWN_NAMES, _bound_names(node))


def _short(source: str) -> bool:
    lines = source.split("\n")
    return LINES[0] <= len(lines) <= LINES[1] and max(map(len, lines)) <= MAX_LINE_CHARS


def _returns_value(node: ast.AST) -> bool:
    return any(isinstance(child, ast.Return) and child.value is not None for child in nodes_of(node))


def _alone(node: ast.FunctionDef, imports: dict[str, str]) -> ast.FunctionDef | None:
    """The function without docstring, decorators, `self` and foreign annotations, plus the imports it needs.

    None if it needs its class or its decorators. Other functions that it calls remain undefined names.
    """
    allowed = ("staticmethod", "classmethod", "property")
    if any(not (isinstance(d, ast.Name) and d.id in allowed) for d in node.decorator_list):
        return None
    if len(node.body) == 1 and docstring_of(node):
        return None
    body = [_copy(statement) for statement in node.body[1 if docstring_of(node) else 0 :]]
    plain = ast.FunctionDef(node.name, _copy(node.args), body, [], _copy(node.returns), None)
    vars(plain)["type_params"] = []  # generic functions of Python 3.12; 3.11 ignores it
    if plain.args.args and plain.args.args[0].arg in ("self", "cls") and not _drop_self(plain):
        return None
    _drop_foreign_annotations(plain)
    needed = {imports[name] for name in undefined_names(plain) & imports.keys()}
    plain.body[:0] = [ast.parse(line).body[0] for line in sorted(needed)]
    return ast.fix_missing_locations(plain)


def _drop_self(plain: ast.FunctionDef) -> bool:
    """Removes `self` from a method, in place; False if the method does more than read attributes of plain values."""
    own = plain.args.args[0].arg
    if len(plain.args.defaults) == len(plain.args.args):
        return False
    plain.args.args = plain.args.args[1:]
    uses = [n for s in plain.body for n in nodes_of(s) if isinstance(n, ast.Name)]
    if any(n.id in ("super", "__class__") for n in uses):
        return False
    count = sum(n.id == own for n in uses)
    if not count:
        return True
    taken = {arg.arg for arg in nodes_of(plain.args) if isinstance(arg, ast.arg)} | {n.id for n in uses}
    attributes: dict[str, str] = {}
    called = {id(n.func) for s in plain.body for n in nodes_of(s) if isinstance(n, ast.Call)}

    class ToArguments(ast.NodeTransformer):
        def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
            nonlocal count
            if isinstance(node.value, ast.Name) and node.value.id == own:
                name = node.attr.strip("_")
                if not isinstance(node.ctx, ast.Load) or id(node) in called or name in taken or not name:
                    return node
                count -= 1
                attributes[node.attr] = name
                return ast.copy_location(ast.Name(name, ast.Load()), node)
            self.generic_visit(node)
            return node

    plain.body = [ToArguments().visit(statement) for statement in plain.body]
    others = {n.attr for s in plain.body for n in nodes_of(s) if isinstance(n, ast.Attribute)}
    names = list(dict.fromkeys(attributes.values()))
    if count or len(names) != len(attributes) or len(names) > 4 or not others <= PLAIN_ATTRIBUTES:
        return False
    plain.args.args[:0] = [ast.arg(name) for name in names]
    return structure_of(plain)[1] >= MIN_METHOD_NODES


def _drop_foreign_annotations(plain: ast.FunctionDef) -> None:
    def foreign(annotation: ast.expr | None) -> bool:
        return annotation is not None and bool(undefined_names(annotation) or _is_text(annotation))

    arguments = [child for child in nodes_of(plain) if isinstance(child, ast.arg)]
    if foreign(plain.returns) or any(foreign(argument.annotation) for argument in arguments):
        plain.returns = None
        for argument in arguments:
            argument.annotation = None


def _is_text(annotation: ast.expr) -> bool:
    return any(isinstance(n, ast.Constant) and isinstance(n.value, str) for n in nodes_of(annotation))


def _examples(node: ast.FunctionDef) -> str:
    """The docstring's examples that compare a call of the function with a literal, as assert statements."""
    text = ast.get_docstring(node) or ""
    found = []
    for match in re.finditer(r"^\s*>>> (.+)\n\s*([^>.\s].*)$", text, re.M):
        try:
            call = ast.parse(match[1], mode="eval").body
            expected = ast.literal_eval(match[2].strip())
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            continue
        names = {child.id for child in nodes_of(call) if isinstance(child, ast.Name)}
        if isinstance(call, ast.Call) and node.name in names and names <= KNOWN_NAMES | {node.name}:
            found.append(f"assert {ast.unparse(call)} == {expected!r}")
    return "\n\n" + "\n".join(found[:MAX_EXAMPLES]) if found else ""


class _PlainAsserts(ast.NodeTransformer):
    """Turns `self.assertEqual(a, b)` and its relatives into the equivalent assert statements."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        call = node.value
        if not (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name)
            and call.func.value.id == "self"
        ):
            return node
        name = call.func.attr
        if name in UNITTEST_ASSERTS and len(call.args) >= 2:
            test: ast.expr = ast.Compare(call.args[0], [UNITTEST_ASSERTS[name]()], [call.args[1]])
        elif name in ("assertTrue", "assert_", "failUnless") and call.args:
            test = call.args[0]
        elif name in ("assertFalse", "failIf") and call.args:
            test = ast.UnaryOp(ast.Not(), call.args[0])
        else:
            return node
        return ast.copy_location(ast.Assert(test, None), node)


def _has_plain_assert(node: ast.FunctionDef) -> bool:
    """Whether some assertion reads only builtins and names of the function; a quick first check."""
    known = KNOWN_NAMES.union(_bound_names(node), ("self",))
    for statement in node.body:
        names = {child.id for child in nodes_of(statement) if isinstance(child, ast.Name)}
        if names <= known and not isinstance(statement, ast.Assign | ast.Import | ast.ImportFrom):
            return True
    return False


def _check(node: ast.FunctionDef) -> list[Snippet]:
    """A test function as plain asserts, without statements that need more than builtins and its own names."""
    if node.decorator_list or _size(node) > MAX_TEST_LINES or not _has_plain_assert(node):
        return []
    plain = _copy(node)
    if [argument.arg for argument in plain.args.args] not in ([], ["self"]):
        return []
    plain.args.args, plain.returns = [], None
    plain.body = [_PlainAsserts().visit(s) for s in plain.body[1 if docstring_of(plain) else 0 :]]
    # Drops statements that need the class, a fixture or a module, and then those that need names they bound.
    while plain.body and (missing := undefined_names(plain)):
        plain.body = [
            s for s in plain.body if not missing & {n.id for n in nodes_of(s) if isinstance(n, ast.Name)}
        ]
    if not any(isinstance(child, ast.Assert) for child in nodes_of(plain)):
        return []
    source = ast.unparse(ast.fix_missing_locations(plain))
    lines = source.split("\n")
    if not LINES[0] <= len(lines) <= MAX_SNIPPET_LINES or max(map(len, lines)) > MAX_LINE_CHARS:
        return []
    if not _stands_alone(source):
        return []
    return [(structure_of(plain)[0], source)]
