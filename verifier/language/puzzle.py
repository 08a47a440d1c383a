"""A puzzle is one function, `def f(answer: T, a=..., b=...)`, given as source; read here, never run.

This is the only reader of puzzles: whatever judges, filters, loads or trains on puzzles uses it, so nothing that one
part takes for a puzzle is refused by another.
"""

import ast
from collections.abc import Iterator
from types import CodeType
from typing import NamedTuple

from verifier.language.answer_types import TypeSyntaxError, parse_type
from verifier.language.leniency import lenient_python

# A puzzle that begins with this line is never shown to a solution: it runs as if there were no `f` to call. (Other
# puzzles may be called: a solution may search with them.) Its answer may be of the type Any.
HIDDEN = "# hidden\n"


class PuzzleError(ValueError):
    """The source is not a puzzle. `reason` is a word for the rejection record, the message says what is wrong.

    Reasons: no_parse, bad_signature, bad_type.
    """

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


class Argument(NamedTuple):
    """One of the puzzle's own arguments, with the source of its default."""

    name: str
    default_source: str


class Puzzle(NamedTuple):
    """A parsed puzzle. The type has one spelling: `list[int]` and `typing.List[int]` become "List[int]"."""

    source: str
    answer_name: str
    answer_type: str
    arguments: tuple[Argument, ...]


def parse_puzzle(source: str) -> Puzzle:
    """Reads `def f(answer: T, a=..., b=...)`, the one and only statement of `source`.

    Raises:
        PuzzleError: no_parse (not Python, or it does not compile), bad_signature (not that one function) or
            bad_type (T is missing or not an answer type).
    """
    return read_puzzle(source)[0]


def read_puzzle(source: str) -> tuple[Puzzle, CodeType, str]:
    """As `parse_puzzle`, with the code to run, and the reason why the puzzle's verdict cannot depend on the answer.

    The last is "" if it may, else no_return (no `return` with a value in f itself) or answer_unused (never read).
    """
    tree, function = _the_function(source)
    arguments = function.args
    if arguments.posonlyargs or arguments.kwonlyargs or arguments.vararg or arguments.kwarg:
        raise PuzzleError("bad_signature", "f takes plain arguments only: no *, /, *args or **kwargs")
    names = [argument.arg for argument in arguments.args]
    required = len(names) - len(arguments.defaults)
    if required != 1:
        raise PuzzleError(
            "bad_signature", f"f must have one argument without default, the answer; it has {required}"
        )
    if len(set(names)) < len(names):
        raise PuzzleError("bad_signature", "two arguments of f have the same name")
    answer = arguments.args[0]
    if answer.annotation is None:
        raise PuzzleError("bad_type", f"the answer {answer.arg!r} has no type annotation")
    try:
        answer_type = str(parse_type(answer.annotation, or_any=source.startswith(HIDDEN)))
    except TypeSyntaxError as e:
        raise PuzzleError("bad_type", str(e)) from e
    try:
        with lenient_python():
            defaults = [ast.unparse(default) for default in arguments.defaults]
    except RecursionError as e:
        raise PuzzleError("no_parse", f"a default cannot be written out: {e}") from e
    rest = tuple(Argument(name, default) for name, default in zip(names[1:], defaults, strict=True))
    return Puzzle(source, answer.arg, answer_type, rest), _compile(tree), _why_useless(function, answer.arg)


def _compile(tree: ast.Module) -> CodeType:
    """Refuses what only the compiler finds: a `nonlocal` of nothing, a `break` outside a loop, nesting too deep."""
    try:
        with lenient_python():
            return compile(tree, "<puzzle>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, OverflowError, MemoryError) as e:
        raise PuzzleError("no_parse", f"does not compile: {e or type(e).__name__}") from e


def solution_header(puzzle: Puzzle, *, typed: bool = False) -> str:
    """The first line of a solution: `g` takes the puzzle's other arguments with the same defaults.

    `typed` adds what it returns, `def g(n=3) -> List[int]:`; programs need not import names of types (policy.py).
    """
    arguments = ", ".join(f"{argument.name}={argument.default_source}" for argument in puzzle.arguments)
    returns = f" -> {puzzle.answer_type}" if typed else ""
    return f"def g({arguments}){returns}:"


def _why_useless(function: ast.FunctionDef, answer_name: str) -> str:
    if not any(isinstance(node, ast.Return) and node.value is not None for node in own_nodes(function)):
        return "no_return"
    for statement in function.body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id == answer_name and isinstance(node.ctx, ast.Load):
                return ""
    return "answer_unused"


def _the_function(source: str) -> tuple[ast.Module, ast.FunctionDef]:
    # ValueError: NUL bytes, lone surrogates. MemoryError: the parser's own stack ran out (deep nesting).
    try:
        with lenient_python():
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise PuzzleError("no_parse", f"not Python: {e or type(e).__name__}") from e
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef) or tree.body[0].name != "f":
        found = ", ".join(_describe(statement) for statement in tree.body[:4]) or "nothing"
        raise PuzzleError("bad_signature", f"a puzzle is one function named f; found {found}")
    function = tree.body[0]
    if function.decorator_list:
        raise PuzzleError("bad_signature", "f has a decorator")
    return tree, function


def _describe(statement: ast.stmt) -> str:
    if isinstance(statement, ast.FunctionDef):
        return f"function {statement.name!r}"
    return f"{type(statement).__name__} statement"


def own_nodes(function: ast.FunctionDef | ast.Module) -> Iterator[ast.AST]:
    """The nodes of a function, or a module, without those of functions and classes defined inside it."""
    stack: list[ast.AST] = list(function.body)
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            stack.extend(ast.iter_child_nodes(node))
