"""Generality: does a solution solve its puzzle, or just this instance of it?

A model's solution may pass by luck (`return 7`). Run on the same puzzle with other defaults, a general solution
goes on passing, a lucky one stops. Some of the new instances have no answer at all, so the share that passes
compares solutions of one puzzle; it is no probability.
"""

import ast
import random
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from verifier.puzzle import any_number_of_digits

if TYPE_CHECKING:
    from verifier.verdict import Judges


def measure_generality(
    pool: "Judges", accepted: Iterable[Mapping[str, Any]], trials: int
) -> list[float | None]:
    """For each accepted pair, the share of up to `trials` variants that it passes too; None if there are none.

    A pair that comes again is tried once.
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

    Every literal default changes within its type: numbers move, texts and lists lose, double or swap parts.
    The same sources give the same variants. Empty where the puzzle has no argument with a literal default, or
    where the solution does not take the puzzle's arguments.
    """
    with lenient_python():
        f, g = _function(puzzle, "f"), _function(solution, "g")
        if f is None or g is None:
            return []
        values = _literal_defaults(f)
        shared = [name for name in _literal_defaults(g) if name in values]
        if not shared:
            return []
        draw = random.Random(ast.dump(f) + ast.dump(g))
        found: dict[str, tuple[str, str]] = {}
        for _ in range(4 * count):
            fresh = {name: _moved(values[name], draw) for name in shared}
            pair = _with_defaults(puzzle, "f", fresh), _with_defaults(solution, "g", fresh)
            if any(repr(fresh[name]) != repr(values[name]) for name in shared):
                found.setdefault(pair[0], pair)
            if len(found) == count:
                break
    return list(found.values())


def _function(source: str, name: str) -> ast.FunctionDef | None:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return found[0] if len(found) == 1 else None


def _defaults(function: ast.FunctionDef) -> dict[str, int]:
    """The place in `args.defaults` of every argument that has one."""
    names = [argument.arg for argument in function.args.args]
    return {name: i for i, name in enumerate(names[len(names) - len(function.args.defaults) :])}


def _literal_defaults(function: ast.FunctionDef) -> dict[str, object]:
    values = {}
    for name, place in _defaults(function).items():
        try:
            values[name] = ast.literal_eval(function.args.defaults[place])
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
    return values


def _with_defaults(source: str, name: str, values: dict[str, object]) -> str:
    tree = ast.parse(source)
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    for argument, place in _defaults(function).items():
        if argument in values:
            function.args.defaults[place] = ast.parse(repr(values[argument]), mode="eval").body
    return ast.unparse(tree) + "\n"


def _moved(value: object, draw: random.Random) -> object:
    """Another value of the same type, near enough that most puzzles still make sense."""
    if isinstance(value, bool):
        return draw.random() < 0.5
    if isinstance(value, int):
        step = max(1, abs(value) // 3)
        moved = value + draw.choice([-1, 1]) * draw.randint(1, step)
        return abs(moved) or 1 if value > 0 else moved
    if isinstance(value, float):
        return round(value * draw.uniform(0.5, 1.5), 3)
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


@contextmanager
def lenient_python() -> Iterator[None]:
    """Integers of any length, and no warnings about what programs are like."""
    with any_number_of_digits(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
