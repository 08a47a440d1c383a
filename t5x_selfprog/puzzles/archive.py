"""Prompt examples from the model's own puzzles: a quality-diversity archive (Mouret and Clune 2015, arXiv:1504.04909).

A cell is an answer type and a syntax shape, so that a form which self-play collapses onto fills one place however
often it was written; in each cell the most learnable puzzle stays. The archive stands beside the train problems in
the prompts of later iterations. The paper's prompts show train problems only; this is an option, off by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from t5x_selfprog.evaluation.difficulty import Difficulty
from t5x_selfprog.puzzles.prompts import Example
from t5x_selfprog.puzzles.shape import shape_id
from t5x_selfprog.puzzles.source import SourceError


@dataclass(frozen=True)
class Archive:
    """How the archive enters the prompts.

    Attributes:
      share: of the examples drawn, how many are from the archive on average; the rest are train problems.
      cells: at most so many, the most learnable.
      temper: exponent of learnability in an example's weight; 0 draws all cells alike.
    """

    share: float = 0.5
    cells: int = 256
    temper: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share must lie between 0 and 1, got {self.share}")

    def examples(
        self, known: Iterable[Difficulty], types: Mapping[str, str], train: Sequence[Example]
    ) -> list[Example]:
        """The train examples and the archive's, weighted.

        Args:
          known: puzzles of earlier iterations; only those solved at least once count.
          types: answer type by puzzle id.
        """
        best: dict[tuple[str, str], Difficulty] = {}
        for puzzle in known:
            if not puzzle.accepted or puzzle.puzzle_id not in types:
                continue
            try:
                cell = types[puzzle.puzzle_id], shape_id(puzzle.source)
            except SourceError:
                continue
            if cell not in best or _order(puzzle) < _order(best[cell]):
                best[cell] = puzzle
        chosen = sorted(best.values(), key=_order)[: self.cells]
        if not chosen:
            return list(train)
        weights = [puzzle.learnability**self.temper for puzzle in chosen]
        scale = self.share / (1 - self.share) * sum(example.weight for example in train) / sum(weights)
        return [
            *train,
            *(Example(p.puzzle_id, p.source, scale * w) for p, w in zip(chosen, weights, strict=True)),
        ]


def _order(puzzle: Difficulty) -> tuple[float, str]:
    """The most learnable first; ties by identity, so that nothing depends on the order of files."""
    return -puzzle.learnability, puzzle.puzzle_id
