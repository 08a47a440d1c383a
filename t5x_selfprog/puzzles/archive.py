"""Prompt examples from the model's own puzzles: a quality-diversity archive (Mouret and Clune 2015, arXiv:1504.04909).

A cell is a pair of answer type and syntax shape, so a form that self-play collapses onto fills one cell, however often
it was written. Each cell keeps its most learnable puzzle. Prompts of later iterations mix the archive with the train
problems. The paper's prompts show train problems only, so the archive is off by default.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from t5x_selfprog.bounds import Count, NotNegative
from t5x_selfprog.puzzles.difficulty import Difficulty
from t5x_selfprog.puzzles.prompts import Example
from t5x_selfprog.puzzles.shape import shape_id
from t5x_selfprog.puzzles.source import SourceError
from verifier.errors import UserError


@dataclass(frozen=True)
class Archive:
    """How prompts use the archive.

    Attributes:
      share: the average share of examples drawn from the archive; the rest are train problems.
      cells: how many cells to keep at most, the most learnable first.
      temper: exponent of learnability in an example's weight; 0 draws all cells equally often.
      asked_rate: a solve rate that prompts ask for, such as 0.5. A comment above each archived puzzle then states its
        measured rate, `# solved: 40%`, and one above the puzzle asked for states this rate, if the prompt shows any
        archived puzzle. None: no comments.
    """

    share: float = 0.5
    cells: Count = 256
    temper: NotNegative = 1.0
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
        """The weighted examples of the train split and of the archive.

        Args:
          known: puzzles of earlier iterations; those never solved are ignored.
          types: answer types by puzzle id.
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
        """The comment line above the puzzle asked for; "" without `asked_rate`."""
        return "" if self.asked_rate is None else self._note(self.asked_rate)

    def _note(self, rate: float) -> str:
        """The rate to the nearest ten percent, so that few values recur often; never 0% for a solved puzzle."""
        return "" if self.asked_rate is None else f"# solved: {max(5, 10 * round(10 * rate))}%"


def _order(puzzle: Difficulty) -> tuple[float, str]:
    """A sort key: most learnable first, ties by identity, so that the order of files has no influence."""
    return -puzzle.learnability, puzzle.puzzle_id
