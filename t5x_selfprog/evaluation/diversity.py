"""How varied a set of puzzles is, and how hard: what a run collapses on, seen before Pass@k shows it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from t5x_selfprog.puzzles.shape import shape_id
from t5x_selfprog.puzzles.source import SourceError

SOLVE_RATE_EDGES = (0.0, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9, 1.0)
"""Bins of the solve rate: never solved is a bin of its own, then (0, 1%], (1%, 3%] ... (90%, 100%]."""


@dataclass(frozen=True)
class Diversity:
    """Counts over one set of puzzles."""

    puzzles: int
    distinct: int
    shapes: int
    largest_shape: int
    answer_types: Mapping[str, int]

    def as_dict(self) -> dict[str, Any]:
        return {
            "puzzles": self.puzzles,
            "distinct": self.distinct,
            "shapes": self.shapes,
            "largest_shape": self.largest_shape,
            "answer_types": dict(self.answer_types),
        }


def diversity(puzzles: Iterable[Mapping[str, Any]]) -> Diversity:
    """Of puzzle records (puzzle_id, source, answer_type).

    `shapes` counts distinct syntax trees with names and constants abstracted, over distinct puzzles;
    `largest_shape` is how many of those share the commonest one.
    """
    total = 0
    by_id: dict[str, Mapping[str, Any]] = {}
    for puzzle in puzzles:
        total += 1
        by_id.setdefault(puzzle["puzzle_id"], puzzle)
    shapes = Counter(shape(puzzle_id, puzzle["source"]) for puzzle_id, puzzle in by_id.items())
    types = Counter(puzzle["answer_type"] for puzzle in by_id.values())
    ordered = dict(sorted(types.items(), key=lambda item: (-item[1], item[0])))
    return Diversity(total, len(by_id), len(shapes), max(shapes.values(), default=0), ordered)


def shape(puzzle_id: str, source: str) -> str:
    """The identity of a puzzle's shape; text that is no Python has a shape of its own."""
    try:
        return shape_id(source)
    except SourceError:
        return puzzle_id


def solve_rate_histogram(accepted_of_tried: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Shares of puzzles by solve rate, from (accepted, tried) of each puzzle; puzzles never tried are left
    out.

    Returns:
        One entry a bin, the first for puzzles never solved: {"above", "up_to", "count", "share"}, a rate r
        being counted where above < r <= up_to.
    """
    rates = [accepted / tried for accepted, tried in accepted_of_tried if tried]
    bins: list[tuple[float | None, float]] = [(None, 0.0), *itertools.pairwise(SOLVE_RATE_EDGES)]
    entries = []
    for above, up_to in bins:
        count = sum((above is None or rate > above) and rate <= up_to for rate in rates)
        share = count / len(rates) if rates else 0.0
        entries.append({"above": above, "up_to": up_to, "count": count, "share": share})
    return entries
