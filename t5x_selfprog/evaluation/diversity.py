"""How varied a set of puzzles is, and how hard: reveals collapse before Pass@k does."""

from __future__ import annotations

import ast
import builtins
import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t5x_selfprog.puzzles.shape import shape_id
from t5x_selfprog.puzzles.source import SourceError, parse, short_hash

SOLVE_RATE_EDGES = (0.0, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9, 1.0)
"""Bins of the solve rate: never solved is a bin of its own, then (0, 1%], (1%, 3%] ... (90%, 100%]."""


VENDI_SAMPLE = 800  # puzzles, chosen by id: the cost is cubic in their number
_WORDS: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>", ast.Invert: "~",
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.In: "in",
    ast.NotIn: "not in", ast.Is: "is", ast.IsNot: "is not", ast.And: "and", ast.Or: "or", ast.Not: "not",
    ast.comprehension: "comprehension", ast.For: "for", ast.While: "while", ast.If: "if", ast.IfExp: "if else",
    ast.Lambda: "lambda", ast.Subscript: "[]", ast.Slice: "[:]",
}  # fmt: skip
_BUILTINS = frozenset(name for name in dir(builtins) if not name.startswith("_"))


@dataclass(frozen=True)
class Diversity:
    """Counts over one set of puzzles.

    Attributes:
      shapes, largest_shape: distinct syntax trees with names and constants abstracted, over distinct puzzles; how many
        of those puzzles share the commonest one.
      behaviours, told: distinct behaviours (puzzles/behaviour.py), and how many puzzles have one that is informative.
      concepts: builtins, methods, operators and statements, each with the number of puzzles that use it.
      vendi: the effective number of different puzzles by what they use (Friedman and Dieng 2023, "The Vendi Score",
        arXiv:2210.02410): 1 where all are alike, their number where no two share anything. On a sample.
      new_shapes: how many of the shapes occur in no earlier puzzle and no seed; None without those.
      distance: 1 minus the mean similarity (cosine over concepts) to the nearest of those; None without.
    """

    puzzles: int
    distinct: int
    shapes: int
    largest_shape: int
    answer_types: Mapping[str, int]
    behaviours: int = 0
    told: int = 0
    concepts: Mapping[str, int] = field(default_factory=dict)
    vendi: float = 0.0
    new_shapes: int | None = None
    distance: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {
            "answer_types": dict(self.answer_types),
            "concepts": dict(self.concepts),
        }


def diversity(
    puzzles: Iterable[Mapping[str, Any]],
    behaviours: Mapping[str, str] = MappingProxyType({}),
    before: Sequence[str] = (),
) -> Diversity:
    """Measures puzzle records (puzzle_id, source, answer_type).

    Args:
      behaviours: by puzzle id, the informative ones.
      before: sources of the seeds and of earlier iterations' puzzles, for novelty.
    """
    total = 0
    by_id: dict[str, Mapping[str, Any]] = {}
    for puzzle in puzzles:
        total += 1
        by_id.setdefault(puzzle["puzzle_id"], puzzle)
    shapes = Counter(shape(puzzle_id, puzzle["source"]) for puzzle_id, puzzle in by_id.items())
    types = Counter(puzzle["answer_type"] for puzzle in by_id.values())
    ordered = dict(sorted(types.items(), key=lambda item: (-item[1], item[0])))
    told = {(by_id[i]["answer_type"], text): None for i, text in behaviours.items() if i in by_id}
    used = {puzzle_id: concepts(by_id[puzzle_id]["source"]) for puzzle_id in sorted(by_id, key=short_hash)}
    counts = Counter(name for names in used.values() for name in names)
    sample = list(used.values())[:VENDI_SAMPLE]
    seen = {shape("", source) for source in before}
    return Diversity(
        total,
        len(by_id),
        len(shapes),
        max(shapes.values(), default=0),
        ordered,
        behaviours=len(told),
        told=sum(puzzle_id in by_id for puzzle_id in behaviours),
        concepts=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        vendi=vendi_score(sample),
        new_shapes=len(set(shapes) - seen) if before else None,
        distance=_distance(sample, [concepts(source) for source in before]) if before and sample else None,
    )


@functools.lru_cache(maxsize=4096)
def concepts(source: str) -> frozenset[str]:
    """What a puzzle is made of: builtins it names, methods it calls, operators and statements. Not its variables."""
    try:
        tree = parse(source)
    except SourceError:
        return frozenset()
    found = set()
    body = [
        node for function in tree.body for part in getattr(function, "body", []) for node in ast.walk(part)
    ]
    for node in body:  # the signature only gives the answer's type
        if isinstance(node, ast.Name) and node.id in _BUILTINS:
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(f".{node.attr}")
        elif type(node) in _WORDS:
            found.add(_WORDS[type(node)])
    return frozenset(found)


def vendi_score(used: Sequence[frozenset[str]]) -> float:
    """The exponential of the entropy of the similarity matrix's eigenvalues; 0 without puzzles."""
    if not used:
        return 0.0
    features = _unit_rows(used, used)
    # The eigenvalues of K / n are the squared singular values of the features: cheaper on the smaller side.
    values = np.linalg.svd(features / np.sqrt(len(used)), compute_uv=False) ** 2
    values = values[values > 1e-12]
    return float(np.exp(-np.sum(values * np.log(values))))


def _distance(used: Sequence[frozenset[str]], before: Sequence[frozenset[str]]) -> float:
    universe = [*used, *before]
    likeness = _unit_rows(used, universe) @ _unit_rows(before, universe).T
    return float(1 - likeness.max(1).mean())


def _unit_rows(used: Sequence[frozenset[str]], universe: Sequence[frozenset[str]]) -> NDArray[np.float64]:
    """[puzzles, concepts], each row of unit length; a puzzle that uses nothing gets the last column."""
    names = {name: i for i, name in enumerate(sorted(set().union(*universe)))}
    rows = np.zeros((len(used), len(names) + 1))
    for row, found in zip(rows, used, strict=True):
        row[[names[name] for name in found]] = 1.0
        if not found:
            row[-1] = 1.0
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def shape(puzzle_id: str, source: str) -> str:
    """The identity of a puzzle's shape; text that is not Python has a shape of its own."""
    try:
        return shape_id(source)
    except SourceError:
        return puzzle_id


def solve_rate_histogram(accepted_of_tried: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Shares of puzzles by solve rate, from (accepted, tried) of each puzzle; puzzles never tried are left out.

    Returns:
        One entry per bin, the first for puzzles never solved: {"above", "up_to", "count", "share"}. A rate r counts
        where above < r <= up_to.
    """
    rates = [accepted / tried for accepted, tried in accepted_of_tried if tried]
    bins: list[tuple[float | None, float]] = [(None, 0.0), *itertools.pairwise(SOLVE_RATE_EDGES)]
    entries = []
    for above, up_to in bins:
        count = sum((above is None or rate > above) and rate <= up_to for rate in rates)
        share = count / len(rates) if rates else 0.0
        entries.append({"above": above, "up_to": up_to, "count": count, "share": share})
    return entries
