"""Generality: does a solution solve its puzzle, or just this instance of it?

A model's solution may pass by luck (`return 7`). Run on the same puzzle with other defaults, a general solution
still passes, a lucky one does not. Some of the new instances have no answer at all, so the share that passes
compares solutions of one puzzle; it is not a probability.
"""

import ast
import itertools
import math
import random
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from verifier.language.leniency import lenient_python

if TYPE_CHECKING:
    from verifier.verdict import Judges

MAX_CHARACTERS = 20_000  # of either text; reading and writing integers takes quadratic time
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")  # as Python counts lines


def measure_generality(
    pool: "Judges", accepted: Iterable[Mapping[str, Any]], trials: int
) -> list[float | None]:
    """For each accepted pair, the share of up to `trials` variants that it passes too; None if there are none.

    A repeated pair is tried once.
    """
    pairs = [(item["puzzle"], item["solution"]) for item in accepted]
    tried = {pair: variants(*pair, trials) for pair in pairs}
    items = [
        {"puzzle": puzzle, "solution": solution} for those in tried.values() for puzzle, solution in those
    ]
    verdicts = pool.judge(items)
    share = {
        pair: sum(next(verdicts).accepted for _ in those) / len(those)
        for pair, those in tried.items()
        if those
    }
    return [share.get(pair) for pair in pairs]


def variants(puzzle: str, solution: str, count: int) -> list[tuple[str, str]]:
    """Up to `count` pairs of puzzle and solution whose shared arguments have other defaults.

    Every literal default changes within its type: numbers move, texts and lists lose, double or swap parts; the rest
    of both texts stays as it is. The same sources give the same variants. Empty where the puzzle has no argument with
    a literal default, where the solution does not take the puzzle's arguments, and for texts that are too long
    (MAX_CHARACTERS) or too deeply nested to be read here: this runs in the caller's process, not in a sandbox.
    """
    if max(len(puzzle), len(solution)) > MAX_CHARACTERS:
        return []
    try:
        with lenient_python():
            return _variants(puzzle, solution, count)
    except (RecursionError, MemoryError):
        return []


def _variants(puzzle: str, solution: str, count: int) -> list[tuple[str, str]]:
    f, g = _function(puzzle, "f"), _function(solution, "g")
    if f is None or g is None:
        return []
    values = {name: value for name, (value, _) in _literal_defaults(f).items()}
    shared = [name for name in _literal_defaults(g) if name in values]
    draw = random.Random(f"{puzzle}\0{solution}".encode("utf-8", "surrogatepass"))
    found: dict[str, tuple[str, str]] = {}
    for _ in range(4 * count if shared else 0):
        fresh = {name: _moved(values[name], draw) for name in shared}
        if any(repr(fresh[name]) != repr(values[name]) for name in shared):
            pair = _with_defaults(puzzle, f, fresh), _with_defaults(solution, g, fresh)
            found.setdefault(pair[0], pair)
        if len(found) == count:
            break
    return list(found.values())


def _function(source: str, name: str) -> ast.FunctionDef | None:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return found[0] if len(found) == 1 else None


def _literal_defaults(function: ast.FunctionDef) -> dict[str, tuple[object, ast.expr]]:
    """Of every argument whose default is a literal: the value, and the node where it stands."""
    names = [argument.arg for argument in function.args.args]
    values = {}
    for name, node in zip(reversed(names), reversed(function.args.defaults), strict=False):
        try:
            value = ast.literal_eval(node)
            ast.literal_eval(repr(value))  # fails for 1e400, whose repr `inf` is no literal
            values[name] = value, node
        except (ValueError, TypeError, SyntaxError):
            continue
    return dict(reversed(values.items()))


def _with_defaults(source: str, function: ast.FunctionDef, values: dict[str, object]) -> str:
    """The source with the defaults of these names replaced."""
    lines = [line.encode() for line in _LINE.findall(source)]
    starts = list(itertools.accumulate(map(len, lines), initial=0))
    text = b"".join(lines)
    for name, (_, node) in reversed(_literal_defaults(function).items()):
        if name in values:
            assert node.end_lineno is not None and node.end_col_offset is not None
            start = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            text = text[:start] + repr(values[name]).encode() + text[end:]
    return text.decode()


def _moved(value: object, draw: random.Random) -> object:
    """Another value of the same type, near enough that most puzzles still make sense."""
    if isinstance(value, bool):
        return draw.random() < 0.5
    if isinstance(value, int):
        step = max(1, abs(value) // 3)
        shifted = value + draw.choice([-1, 1]) * draw.randint(1, step)
        return abs(shifted) or 1 if value > 0 else shifted
    if isinstance(value, float):
        moved = round(value * draw.uniform(0.5, 1.5), 3)
        return moved if math.isfinite(moved) else value
    if isinstance(value, str):
        return "".join(_moved_parts(list(value), draw))
    if isinstance(value, list):
        return [_moved(v, draw) if draw.random() < 0.3 else v for v in _moved_parts(value, draw)]
    if isinstance(value, tuple):
        return tuple(_moved(v, draw) if draw.random() < 0.5 else v for v in value)
    return value


def _moved_parts(parts: list, draw: random.Random) -> list:
    """The parts with one dropped, one doubled or two swapped."""
    parts = list(parts)
    if not parts:
        return parts
    i, j = draw.randrange(len(parts)), draw.randrange(len(parts))
    how = draw.choice(["drop", "double", "swap"])
    if how == "drop" and len(parts) > 1:
        del parts[i]
    elif how == "double":
        parts.insert(j, parts[i])
    else:
        parts[i], parts[j] = parts[j], parts[i]
    return parts
