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
from verifier.errors import UserError


@dataclass(frozen=True)
class Archive:
    """How the archive enters the prompts.

    Attributes:
      share: of the examples drawn, how many are from the archive on average; the rest are train problems.
      cells: at most so many, the most learnable.
      temper: exponent of learnability in an example's weight; 0 draws all cells alike.
      asked_rate: a solve rate that prompts ask for, as 0.5: puzzles of the archive stand under the rate that was
        measured of them, `# solved: 40%`, and so does the one asked for, beside at least one of those. None: no rates.
    """

    share: float = 0.5
    cells: int = 256
    temper: float = 1.0
    asked_rate: float | None = None

    def __post_init__(self) -> None:
        if self.asked_rate is not None and not 0 < self.asked_rate < 1:
            raise UserError(
                f"Archive.asked_rate={self.asked_rate}: must lie between 0 and 1, as 0.5, or be None."
            )
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
            *(
                Example(p.puzzle_id, p.source, scale * w, self._note(p.rate.estimate))
                for p, w in zip(chosen, weights, strict=True)
            ),
        ]

    @property
    def asked_note(self) -> str:
        """The line above a puzzle that is asked for; "" where no rate is."""
        return "" if self.asked_rate is None else self._note(self.asked_rate)

    def _note(self, rate: float) -> str:
        """The nearest ten percent, so that few rates are seen often; what was solved at all is not 0%."""
        return "" if self.asked_rate is None else f"# solved: {max(5, 10 * round(10 * rate))}%"


def _order(puzzle: Difficulty) -> tuple[float, str]:
    """The most learnable first; ties by identity, so that nothing depends on the order of files."""
    return -puzzle.learnability, puzzle.puzzle_id
