"""How long to train and in what portions, from how much there is to learn.

Batches, epochs and warm-up that suit a million pairs teach nothing when there are seventy: three steps under a warm-up
of ten. What matters to a small data set is the number of updates, so it gets a floor: the batch shrinks until that
many updates fit into the usual passes, down to one row a device; only then are there more passes, up to a bound beyond
which pairs are learnt by heart. The warm-up is a share of whatever came of it.
"""

import math
from dataclasses import dataclass

from verifier.errors import UserError


@dataclass(frozen=True)
class Fit:
    """What training aims at.

    Attributes:
      min_steps: updates that even few pairs get.
      max_epochs: passes over few pairs at most, though `min_steps` be missed.
      batch_tokens: positions of a batch where data is plenty; None is what finetune.run.batch_size rows hold.
      warmup: share of the steps in which the learning rate rises (OptimizerConfig.warmup_steps does not count then).
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
            raise UserError(f"Fit.warmup={self.warmup}: must be a share from 0 up to, but not, 1.")

    def plan(self, rows: int, length: int, *, epochs: int, most_rows: int, ways: int = 1) -> "Plan":
        """Training on `rows` packed rows of `length` tokens.

        Args:
          epochs: passes where data is plenty.
          most_rows: the largest batch unless `batch_tokens` says another.
          ways: a batch is a multiple of these: the devices that share it, times the parts it is cut into.
        """
        most = max(1, self.batch_tokens // length) if self.batch_tokens is not None else most_rows
        wanted = min(most, rows * epochs // self.min_steps)
        # Powers of two, so that a growing data set meets few shapes, each of which is compiled anew.
        batch_rows = ways * 2 ** int(math.log2(max(1, wanted // ways)))
        if wanted == most:
            batch_rows = max(ways, most // ways * ways)
        an_epoch = -(-rows // batch_rows)
        steps = epochs * an_epoch
        if steps < self.min_steps:
            steps = max(steps, min(self.min_steps, self.max_epochs * an_epoch))
        return self.prescribed(rows, length, steps=steps, batch_rows=batch_rows)

    def prescribed(self, rows: int, length: int, *, steps: int, batch_rows: int) -> "Plan":
        """As long and in such portions as another arm; the warm-up is a share of that."""
        return Plan(rows, length, batch_rows, steps, round(self.warmup * steps))


@dataclass(frozen=True)
class Plan:
    """What came of it; `rows` of `length` positions hold all pairs."""

    rows: int
    length: int
    batch_rows: int
    steps: int
    warmup_steps: int

    @property
    def epochs(self) -> float:
        return self.steps / -(-self.rows // self.batch_rows)

    def sentence(self, pairs: int, tokens: int) -> str:
        return (
            f"{pairs:,} pairs of {tokens:,} tokens fill {self.rows:,} rows of {self.length:,}: {self.steps:,} steps of "
            f"{self.batch_rows} x {self.length:,} ({self.epochs:.1f} epochs), warm-up {self.warmup_steps}"
        )
