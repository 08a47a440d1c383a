"""Puzzle and solution source text: parse, normalise, identify, rename, cut.

Pure functions from text to text. `puzzle_id` hashes the normalised source, so spacing, comments, docstrings and quoting
do not matter; `shape.shape_id` is a coarser identity that also ignores names and constants.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import io
import itertools
import keyword
import re
import textwrap
import tokenize
from typing import NamedTuple

from t5x_selfprog.puzzles.scopes import Occurrence, Scope, every_argument, occurrences
from t5x_selfprog.puzzles.trees import depth
from verifier.language.leniency import lenient_python

_NEWLINE = re.compile(r"\r\n|\r|\n")
_BEFORE_NAME = re.compile(r"\bdef[ \t]+\Z")
_UNINDENTED = re.compile(r"\n[^\s)\]}]")
_DEF = re.compile(r"def[ \t]+([^\W\d]\w*)")
_FIXED_POINT_ROUNDS = 4
_SHALLOW = 100  # nodes above one another; visitors follow three times as many


class SourceError(ValueError):
    """Text that is not a Python program, or that cannot be changed as asked; the message says why."""


# Parsing.


def parse(source: str) -> ast.Module:
    """The syntax tree of `source`; every error of Python's parser becomes a SourceError."""
    with lenient_python():
        try:
            return ast.parse(source)
        except SyntaxError as error:
            where = f" (line {error.lineno})" if error.lineno is not None else ""
            raise SourceError(f"{error.msg}{where}") from error
        except (ValueError, RecursionError, MemoryError) as error:  # NUL, lone surrogates, deep nesting.
            raise SourceError(f"{type(error).__name__}: {error}") from error


def unparse(tree: ast.AST) -> str:
    """Canonical text. Raises SourceError where Python cannot write it (deep trees, odd strings)."""
    with lenient_python():
        try:
            return ast.unparse(tree)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"cannot be written back: {type(error).__name__}: {error}") from error


def only_function(source: str) -> ast.FunctionDef:
    """The one function that `source` consists of. Raises SourceError for anything else."""
    body = parse(source).body
    if len(body) != 1 or not isinstance(body[0], ast.FunctionDef):
        found = ", ".join(type(statement).__name__ for statement in body) or "nothing"
        raise SourceError(f"must be one function, found {found}")
    return body[0]


def end_of_first_function(text: str) -> int | None:
    """Where the function at the start of a program ends; None if there is none or Python cannot parse the program."""
    try:
        body = parse(text).body
    except SourceError:
        return None
    if not body or not isinstance(body[0], ast.FunctionDef) or body[0].end_lineno is None:
        return None
    lines = _lines_with_ends(text)[: body[0].end_lineno]
    end_column = body[0].end_col_offset or 0
    return sum(map(len, lines[:-1])) + len(lines[-1].encode()[:end_column].decode())


# Identity.


def _bare(statements: list[ast.stmt], kept: set[ast.arg]) -> list[ast.stmt]:
    """Statements without parts that have no effect: docstrings, and annotations except those in `kept`.

    Only statements contain statements and annotations, so expressions, which are most of a tree, are not visited.
    """
    return [_bare_statement(statement, kept) for statement in statements]


def _bare_statement(node: ast.stmt, kept: set[ast.arg]) -> ast.stmt:
    if isinstance(node, ast.AnnAssign):
        bare: ast.stmt = (
            ast.Pass() if node.value is None else ast.Assign(targets=[node.target], value=node.value)
        )
        return ast.copy_location(bare, node)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        node.returns = None
        for argument in every_argument(node.args):
            if argument not in kept:
                argument.annotation = None
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        while node.body and _is_string_statement(node.body[0]):
            node.body.pop(0)
        node.body = node.body or [ast.Pass()]
    for field in ("body", "orelse", "finalbody"):
        if inner := getattr(node, field, None):
            setattr(node, field, _bare(inner, kept))
    for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        part.body = _bare(part.body, kept)
    return node


def _is_string_statement(node: ast.stmt) -> bool:
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def bare_tree(source: str, *, keep_answer: bool) -> ast.Module:
    tree = parse(source)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    kept = {function.args.args[0] for function in functions if function.args.args} if keep_answer else set()
    try:
        tree.body = _bare(tree.body, kept)
    except RecursionError as error:  # each `elif` nests in the one before it
        raise SourceError("nested too deeply") from error
    return tree


@functools.lru_cache(maxsize=4096)  # Asked for again at every comparison of the same text.
def normalise(source: str) -> str:
    """Canonical text of a puzzle, without comments, docstrings, and annotations other than the answer's type.

    Idempotent. Raises SourceError.
    """
    return _settled(bare_tree(source, keep_answer=True))


def normalise_solution(source: str) -> str:
    """As `normalise`, but without any annotation: the text by which solutions are compared."""
    return _settled(bare_tree(source, keep_answer=False))


def _settled(tree: ast.AST) -> str:
    """Unparses to a fixed point: `ast.unparse` joins adjacent literals only when its text is parsed again."""
    text = unparse(tree)
    if "'" not in text and '"' not in text:
        return text
    for _ in range(_FIXED_POINT_ROUNDS):
        again = unparse(parse(text))
        if again == text:
            break
        text = again
    return text


@functools.lru_cache(maxsize=1 << 17)  # every iteration asks again for the puzzles kept by earlier ones
def puzzle_id(source: str) -> str:
    """16 hexadecimal digits, equal for puzzles whose normalised source is equal. Raises SourceError."""
    return short_hash(normalise(source))


def short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def body_tokens(source: str) -> list[str]:
    """The lexical tokens of the normalised source without its signature and layout. Raises SourceError."""
    layout = {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    _, _, body = normalise(source).partition("\n")  # Unparsed signatures take one line.
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(textwrap.dedent(body)).readline))
    except (tokenize.TokenError, SyntaxError) as error:
        raise SourceError(f"cannot be tokenised: {error}") from error
    return [token.string for token in tokens if token.type not in layout]


# Renaming.


def rename_function(source: str, new: str) -> str:
    """`source` (one function) with that function renamed to `new`, recursive uses included.

    Layout and comments are kept. A local variable of the old name, in this function or a nested one, is a different
    variable and keeps its name. Raises SourceError if a local `new` would capture a recursive use, or if the text is
    nested too deeply.
    """
    tree = parse(source)
    if len(tree.body) != 1 or not isinstance(tree.body[0], ast.FunctionDef):
        raise SourceError("must be one function to be renamed")
    old = tree.body[0].name
    if old == new:
        return source
    if (renamed := rename_only_mention(source, tree.body[0], new)) is not None:
        return renamed
    try:
        return _renamed(source, tree, old, new)
    except RecursionError as error:
        raise SourceError("nested too deeply to be renamed") from error


def rename_only_mention(source: str, function: ast.FunctionDef, new: str) -> str | None:
    """`rename_function` of text that was parsed as `function`, if its `def` alone mentions the name.

    None where that is not plain to see, and `rename_function` has to resolve names: another mention, even in a string
    or comment; letters beyond ASCII, of which Python takes several for one; deep nesting, which it may refuse.
    """
    if not (source.isascii() and new.isascii() and new.isidentifier()) or keyword.iskeyword(new):
        return None
    mentions = list(re.finditer(rf"\b{function.name}\b", source))
    if len(mentions) != 1 or depth(function) > _SHALLOW:
        return None
    start, end = mentions[0].span()
    return source[:start] + new + source[end:] if _BEFORE_NAME.search(source, 0, start) else None


def _renamed(source: str, tree: ast.Module, old: str, new: str) -> str:
    uses = [found for found in occurrences(tree) if found.name == old and _is_module(found.owner)]
    for use in uses:
        if not use.binds and use.scope.owner_of(new) is not None:
            raise SourceError(f"a local name {new!r} hides the recursive use of {old!r}: rename that local")
    edited = _replace_in_text(source, uses, old, new)
    for use in uses:
        setattr(use.node, use.field, new)
    # Before Python 3.12, names inside f-strings have no reliable position; then the tree is unparsed instead.
    return edited if edited is not None and _is_text_of(edited, tree) else unparse(tree)


def _is_module(scope: Scope | None) -> bool:
    return scope is not None and scope.kind == "module"


def _is_text_of(text: str, tree: ast.AST) -> bool:
    try:
        parsed = parse(text)
    except SourceError:
        return False
    with lenient_python():
        return ast.dump(parsed) == ast.dump(tree)


def _replace_in_text(source: str, uses: list[Occurrence], old: str, new: str) -> str | None:
    """The text with each use replaced at the position given by the tree; None if a position does not match."""
    lines = [line.encode("utf-8") for line in _lines_with_ends(source)]
    before, after = old.encode("utf-8"), new.encode("utf-8")
    places = sorted(((_row_and_column(use.node), use.node) for use in uses), key=lambda place: place[0])
    for (row, column), node in reversed(places):
        line = lines[row]
        at = line.find(before, column + len(b"def ")) if isinstance(node, ast.FunctionDef) else column
        if at < 0 or line[at : at + len(before)] != before:
            return None
        lines[row] = line[:at] + after + line[at + len(before) :]
    return b"".join(lines).decode("utf-8")


def _row_and_column(node: ast.AST) -> tuple[int, int]:
    """Zero-based line and UTF-8 byte offset."""
    return getattr(node, "lineno") - 1, getattr(node, "col_offset")  # noqa: B009


def _lines_with_ends(text: str) -> list[str]:
    """Python's own idea of lines; `str.splitlines` would also break at form feeds and Unicode separators."""
    pieces, start = [], 0
    for newline in _NEWLINE.finditer(text):
        pieces.append(text[start : newline.end()])
        start = newline.end()
    return [*pieces, text[start:]]


def annotate_return(source: str, annotation: str) -> str:
    """`source` with ` -> annotation` before the colon that ends its first `def`'s signature.

    A function that already has a return annotation, and text without a complete signature, is returned unchanged.
    """
    end = _end_of_signature(source)
    if end is None or end.arrow:
        return source
    return f"{source[: end.colon]} -> {annotation}{source[end.colon :]}"


def drop_return_annotation(source: str) -> str:
    """`source` without the return annotation of its first `def`; text without a complete signature is unchanged."""
    end = _end_of_signature(source)
    if end is None or not end.arrow:
        return source
    return source[: end.bracket] + source[end.colon :]


def returning_bool(puzzle: str) -> str:
    """A puzzle that says `-> bool`, as no puzzle of P3 does, and that says nothing else."""
    return annotate_return(drop_return_annotation(puzzle), "bool")


class _End(NamedTuple):
    """Offsets at the end of a signature: after its closing bracket, and of its colon; whether an arrow is between."""

    bracket: int
    colon: int
    arrow: bool


def _end_of_signature(source: str) -> _End | None:
    """Where the signature of the first `def` ends; None if it does not."""
    depth, bracket, arrow, lines = 0, 0, False, _lines_with_ends(source)
    begins = [0, *itertools.accumulate(map(len, lines))]
    try:
        for token in tokenize.generate_tokens(iter([*lines, ""]).__next__):
            if token.type != tokenize.OP:
                continue
            if token.string in "([{":
                depth += 1
            elif token.string in ")]}":
                depth -= 1
                if not depth and not arrow:
                    bracket = begins[token.end[0] - 1] + token.end[1]
            elif not depth and token.string == "->":
                arrow = True
            elif not depth and token.string == ":":
                return _End(bracket, begins[token.start[0] - 1] + token.start[1], arrow)
    except (tokenize.TokenError, SyntaxError):
        pass  # there is no colon before the part that Python cannot tokenise
    return None


# Cutting what a model wrote.


def cut_at_unindented(text: str) -> str:
    """`text` up to but excluding the first unindented line after its first line, right-stripped.

    An unindented line that only closes brackets (`) -> bool:`) continues the signature above it.
    """
    if "\r" in text:
        text = _NEWLINE.sub("\n", text)
    end = _UNINDENTED.search(text)
    return (text if end is None else text[: end.start()]).rstrip()


def rename_definition(text: str, new: str) -> str:
    """`rename_function` for text that may not parse: then only the name after the leading `def` is replaced.

    Text that does not start with a `def` is returned unchanged.
    """
    try:
        return rename_function(text, new)
    except SourceError:
        header = _DEF.match(text)
        return text if header is None else f"{text[: header.start(1)]}{new}{text[header.end(1) :]}"
