"""Answer types: read from an annotation's source, written in one spelling, checked exactly.

The vocabulary is what a plain literal can be: int, float, str, bool, bytes, complex and None, and List,
Tuple, Set, FrozenSet, Dict, Optional and Union of them, nested, in either spelling (`List[int]` or
`list[int]`, `Optional[int]` or `int | None`). Nothing is evaluated: only the syntax tree is read. Any, which admits
all of these, is for the puzzles that unit tests become (suites.py).

"Exactly" means by `type(value) is ...`: True is not an int, an int not a float, a subclass of list not a list.
"""

import ast
from collections.abc import Callable
from typing import NamedTuple

Checker = Callable[[object], bool]

SCALARS: dict[str, type] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "bytes": bytes,
    "complex": complex,
    "None": type(None),
}
CONTAINERS = {
    "List": "List",
    "list": "List",
    "Set": "Set",
    "set": "Set",
    "FrozenSet": "FrozenSet",
    "frozenset": "FrozenSet",
    "Dict": "Dict",
    "dict": "Dict",
    "Tuple": "Tuple",
    "tuple": "Tuple",
}
ANY = "Any"
MAX_DEPTH = 20  # of a type; deeper annotations are refused rather than recursed into


class TypeSyntaxError(ValueError):
    """The annotation is not in the vocabulary; the message quotes the part that is not."""


class AnswerType(NamedTuple):
    """One node of a type: `name` is a scalar's name, a container's, "Union" or "Any".

    A variable-length tuple `Tuple[int, ...]` is name "Tuple" with `variadic` set and one argument.
    """

    name: str
    arguments: tuple["AnswerType", ...] = ()
    variadic: bool = False

    def __str__(self) -> str:
        if self.name == "Union":
            some = [a for a in self.arguments if a.name != "None"]
            inner = str(some[0]) if len(some) == 1 else f"Union[{', '.join(map(str, some))}]"
            return f"Optional[{inner}]" if len(some) < len(self.arguments) else inner
        if self.name == "Tuple" and not self.arguments:
            return "Tuple[()]"
        if not self.arguments:
            return self.name
        return f"{self.name}[{', '.join(map(str, self.arguments))}{', ...' if self.variadic else ''}]"


def parse_type(annotation: str | ast.expr, *, or_any: bool = False) -> AnswerType:
    """Reads an annotation, given as source or as a syntax tree. `or_any` allows Any, by itself.

    Raises:
        TypeSyntaxError: outside the vocabulary, or not an expression at all.
    """
    node = _parse_quoted(annotation) if isinstance(annotation, str) else annotation
    if or_any and isinstance(node, ast.Name) and node.id == ANY:
        return AnswerType(ANY)
    return _read(node, 0)


def _read(node: ast.expr, depth: int) -> AnswerType:
    if depth > MAX_DEPTH:
        raise TypeSyntaxError(f"type nested deeper than {MAX_DEPTH}")
    if isinstance(node, ast.Constant) and isinstance(node.value, str):  # a quoted annotation: 'List[int]'
        return _read(_parse_quoted(node.value), depth + 1)
    if isinstance(node, ast.Constant) and node.value is None:
        return AnswerType("None")
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([_read(node.left, depth + 1), _read(node.right, depth + 1)])
    if isinstance(node, ast.Subscript):
        return _read_generic(_name(node.value), node.slice, depth)
    name = _name(node)
    if name in SCALARS:
        return AnswerType(name)
    if name in CONTAINERS:
        raise TypeSyntaxError(f"{name} needs its element type, as in {CONTAINERS[name]}[int]")
    raise TypeSyntaxError(f"unknown answer type {name!r}")


def _parse_quoted(text: str) -> ast.expr:
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise TypeSyntaxError(f"not a type: {text[:80]!r}") from e


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "typing":
        return node.attr
    raise TypeSyntaxError(f"not a type: {_quote(node)}")


def _read_generic(name: str, index: ast.expr, depth: int) -> AnswerType:
    parts = list(index.elts) if isinstance(index, ast.Tuple) else [index]
    if name in ("Optional", "Union"):
        if name == "Optional" and len(parts) != 1:
            raise TypeSyntaxError(f"Optional takes one type, got {len(parts)}")
        members = [_read(part, depth + 1) for part in parts]
        return _union([*members, AnswerType("None")] if name == "Optional" else members)
    kind = CONTAINERS.get(name)
    if kind is None:
        raise TypeSyntaxError(f"unknown answer type {name!r}")
    variadic = kind == "Tuple" and len(parts) == 2 and _is_ellipsis(parts[1])
    if variadic:
        parts = parts[:1]
    wanted = {"Dict": 2, "Tuple": len(parts)}.get(kind, 1)
    if len(parts) != wanted:
        raise TypeSyntaxError(f"{kind} takes {wanted} type{'s' if wanted > 1 else ''}, got {len(parts)}")
    return AnswerType(kind, tuple(_read(part, depth + 1) for part in parts), variadic)


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _union(members: list[AnswerType]) -> AnswerType:
    flat: list[AnswerType] = []
    for member in members:
        flat.extend(member.arguments if member.name == "Union" else (member,))
    distinct = tuple(dict.fromkeys(flat))
    if not distinct:
        raise TypeSyntaxError("Union of nothing")
    return distinct[0] if len(distinct) == 1 else AnswerType("Union", distinct)


def _quote(node: ast.expr) -> str:
    try:
        return repr(ast.unparse(node)[:80])
    except (ValueError, RecursionError):
        return f"an {type(node).__name__}"


def compile_checker(answer_type: AnswerType) -> Checker:
    """A function that says whether a value is exactly of this type. It calls no method of the value."""
    arguments = [compile_checker(argument) for argument in answer_type.arguments]
    name = answer_type.name
    if name in SCALARS:
        scalar = SCALARS[name]
        return lambda value: type(value) is scalar
    if name == ANY:
        return lambda value: True  # only plain values get here
    if name == "Union":
        return lambda value: any(check(value) for check in arguments)
    if name == "Dict":
        key, item = arguments
        return lambda value: type(value) is dict and all(map(key, value)) and all(map(item, value.values()))
    if name == "Tuple" and not answer_type.variadic:
        return lambda value: (
            type(value) is tuple
            and len(value) == len(arguments)
            and all(check(item) for check, item in zip(arguments, value, strict=True))
        )
    container = {"List": list, "Set": set, "FrozenSet": frozenset, "Tuple": tuple}[name]
    inner = answer_type.arguments[0]
    if inner.name in SCALARS:  # the common case, at the speed of C: the set of element types is {that} or {}
        allowed = {SCALARS[inner.name]}
        return lambda value: type(value) is container and set(map(type, value)) <= allowed
    check = arguments[0]
    return lambda value: type(value) is container and all(map(check, value))
