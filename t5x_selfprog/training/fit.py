"""Chooses batch size, number of steps and warm-up from the size of the data set.

A batch size, epochs and warm-up that suit a million pairs teach nothing when there are seventy: three steps under a
warm-up of ten. A small data set needs a minimum number of updates. The batch shrinks until that many fit into the usual
epochs, down to one row per device; only then are there more epochs, up to a limit beyond which pairs are memorised.
The warm-up is a share of the resulting steps.
"""

import math
from dataclasses import dataclass

from verifier.errors import UserError


@dataclass(frozen=True)
class Fit:
    """How training adapts to the size of the data set.

    Attributes:
      min_steps: the minimum number of updates.
      max_epochs: the most passes over few pairs, even if `min_steps` is not reached.
      batch_tokens: positions of a batch when data is plentiful; None means finetune.run.batch_size rows.
      warmup: share of the steps in which the learning rate rises (replaces OptimizerConfig.warmup_steps).
    """

    min_steps: int = 64
    max_epochs: int = 10
    batch_tokens: int | None = None
    warmup: float = 0.1

    def __post_init__(self) -> None:
        for name, least in (("min_steps", 1), ("max_epochs", 1), ("batch_tokens", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"Fit.{name}={value}: must be at least {least}.")
        if not 0 <= self.warmup < 1:
            raise UserError(f"Fit.warmup={self.warmup}: must be a share of at least 0 and less than 1.")

    def plan(self, rows: int, length: int, *, epochs: int, most_rows: int, ways: int = 1) -> "Plan":
        """Training on `rows` packed rows of `length` tokens.

        Args:
          epochs: passes when data is plentiful.
          most_rows: the largest batch, unless `batch_tokens` is set.
          ways: a batch is a multiple of this: the number of devices that share it, times the parts it is split into.
        """
        most = max(1, self.batch_tokens // length) if self.batch_tokens is not None else most_rows
        wanted = min(most, rows * epochs // self.min_steps)
        # Powers of two, so that a growing data set has few shapes; each new shape is compiled.
        batch_rows = ways * 2 ** int(math.log2(max(1, wanted // ways)))
        if wanted == most:
            batch_rows = max(ways, most // ways * ways)
        an_epoch = -(-rows // batch_rows)
        steps = epochs * an_epoch
        if steps < self.min_steps:
            steps = max(steps, min(self.min_steps, self.max_epochs * an_epoch))
        return self.prescribed(rows, length, steps=steps, batch_rows=batch_rows)

    def prescribed(self, rows: int, length: int, *, steps: int, batch_rows: int) -> "Plan":
        """The steps and batch size of another arm, with the warm-up as a share of its steps."""
        return Plan(rows, length, batch_rows, steps, round(self.warmup * steps))


@dataclass(frozen=True)
class Plan:
    """The resulting schedule; `rows` rows of `length` positions hold all pairs."""

    rows: int
    length: int
    batch_rows: int
    steps: int
    warmup_steps: int

    @property
    def epochs(self) -> float:
        return self.steps / -(-self.rows // self.batch_rows)

    def sentence(self, pairs: int, others: int, tokens: int) -> str:
        """others: documents beside the pairs, such as lists of puzzles."""
        beside = f" and {others:,} other documents" if others else ""
        return (
            f"{pairs:,} pairs{beside} of {tokens:,} tokens fill {self.rows:,} rows of {self.length:,}: "
            f"{self.steps:,} steps of {self.batch_rows} x {self.length:,} ({self.epochs:.1f} epochs), "
            f"warm-up {self.warmup_steps}"
        )
