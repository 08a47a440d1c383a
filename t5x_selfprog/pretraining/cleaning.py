"""Cleans one Python file down to code that a small model can learn from.

Pure functions of the file's text: no state, no randomness. Python 3 only, by this interpreter's grammar.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import warnings

from t5x_selfprog.pretraining import extraction
from t5x_selfprog.pretraining.extraction import docstring_of, nodes_of, structure_of

MAX_FILE_CHARS = 400_000
MAX_LINE_CHARS = 1_000
MAX_DOCSTRING_LINES = 8
MAX_COMMENT_LINES = 10
MAX_LITERAL_SHARE = 0.5  # of a file's syntax nodes
MAX_CONTAINER_ITEMS = 400
MAX_IMPORT_SHARE = 0.7  # of a file's top-level statements
MIN_FILE_NODES = 30
GENERATED = re.compile(
    r"do not edit|machine generated|auto-?generated|automatically generated|@generated", re.I
)
LICENCE = re.compile(r"copyright|licen[sc]ed? |all rights reserved|spdx-", re.I)
BENCHMARKS = re.compile(r"human_?eval|\bmbpp\b|python_?programming_?puzzles|programming puzzles", re.I)


class Unusable(Exception):
    """The file is left out; the message is a short reason, which goes to the manifest."""


@dataclasses.dataclass(frozen=True)
class Definition:
    """One function of a cleaned file: its lines (1-based, inclusive), structure hash and size in nodes."""

    first_line: int
    last_line: int
    structure: str
    nodes: int


@dataclasses.dataclass(frozen=True)
class CleanFile:
    text: str
    definitions: tuple[Definition, ...]
    functions: tuple[tuple[str, str], ...]  # (structure hash, standalone source)
    checks: tuple[tuple[str, str], ...]  # the same for functions with assertions on what they compute


def clean(data: bytes) -> CleanFile:
    """Everything a corpus takes from one file.

    Raises:
      Unusable: with a short reason (encoding, long lines, generated, mostly data, does not parse, ...).
    """
    text = _normalise(_decode(data))
    tree = _parse(text)
    _refuse_data(tree)
    functions, checks = extraction.extract(tree)  # before docstrings lose their examples
    text = _shorten(text, tree)
    definitions = []
    for node in nodes_of(_parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            structure, nodes = structure_of(node)
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            definitions.append(Definition(first, node.end_lineno or first, structure, nodes))
    return CleanFile(text, tuple(definitions), tuple(functions), tuple(checks))


def _decode(data: bytes) -> str:
    if len(data) > MAX_FILE_CHARS:
        raise Unusable("too large")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unusable("not UTF-8") from None
    if len(text) < 80:
        raise Unusable("nearly empty")
    if "\0" in text or sum(char > "\x7f" for char in text) > 0.02 * len(text):
        raise Unusable("not mostly ASCII")
    if GENERATED.search(text[:1500]):
        raise Unusable("generated")
    if BENCHMARKS.search(text):
        raise Unusable("names a benchmark we measure on")
    return text


def _normalise(text: str) -> str:
    """Normalises line ends, tabs and trailing blanks; removes licence notices and long runs of comments and blanks."""
    lines = []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "").split("\n"):
        stripped = line.lstrip(" \t")
        indent = line[: len(line) - len(stripped)].replace("\t", "    ")
        lines.append((indent + stripped).rstrip())
    if max(map(len, lines)) > MAX_LINE_CHARS:
        raise Unusable("long lines")
    kept: list[str] = []
    block: list[str] = []

    def close_block():
        notice = any(LICENCE.search(line) for line in block) and len(kept) < 40
        if len(block) <= MAX_COMMENT_LINES and not notice:
            kept.extend(block)
        block.clear()

    for line in lines:
        if line.lstrip().startswith("#"):
            if not line.startswith("#!") and "coding:" not in line:
                block.append(line)
            continue
        close_block()
        if line or kept[-2:] != ["", ""]:
            kept.append(line)
    close_block()
    return "\n".join(kept).strip("\n") + "\n"


def _parse(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Unusable("does not parse") from None


def _refuse_data(tree: ast.Module) -> None:
    total = literals = 0
    for node in nodes_of(tree):
        total += 1
        if isinstance(node, ast.Constant):
            literals += 1
        elif (isinstance(node, ast.List | ast.Tuple | ast.Set) and len(node.elts) > MAX_CONTAINER_ITEMS) or (
            isinstance(node, ast.Dict) and len(node.keys) > MAX_CONTAINER_ITEMS
        ):
            raise Unusable("long table")
    imports = sum(isinstance(statement, ast.Import | ast.ImportFrom) for statement in tree.body)
    if total < MIN_FILE_NODES or imports > MAX_IMPORT_SHARE * len(tree.body):
        raise Unusable("only imports")
    if literals > MAX_LITERAL_SHARE * total:
        raise Unusable("mostly data")


def _shorten(text: str, tree: ast.Module) -> str:
    """Cuts long docstrings to their first line of text: a tiny model should spend its tokens on code."""
    lines = text.split("\n")
    for node in nodes_of(tree):
        doc = docstring_of(node)
        if doc is None or doc.end_lineno is None or doc.end_lineno - doc.lineno < MAX_DOCSTRING_LINES:
            continue
        words = ast.literal_eval(doc.value)
        summary = next((line.strip() for line in words.split("\n") if line.strip()), "")
        if "\\" in summary or '"' in summary or LICENCE.search(summary):
            summary = "..."
        lines[doc.lineno - 1] = lines[doc.lineno - 1][: doc.col_offset] + f'"""{summary}"""'
        for number in range(doc.lineno, doc.end_lineno):
            lines[number] = "\0"
    shorter = "\n".join(line for line in lines if line != "\0")
    try:
        ast.parse(shorter)
    except SyntaxError:
        return text
    return shorter
