"""What a training run learns."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from t5x_selfprog.training.batches import Batch, BatchSource
from t5x_selfprog.training.learning import WHOLE, Learning, Loss
from t5x_selfprog.training.train_step import loss_sums


@dataclasses.dataclass(frozen=True)
class TrainingTask:
    """Batches, how many of them, which weights they change and by which loss.

    Attributes:
      source: batches by step, or a function of the step and the current weights, for on-policy training.
      num_steps: updates of the weights, one per batch.
      learning: which weights are trained and which stay frozen.
      objective: the loss, see `make_train_step`; every array of a batch is [B, L].
      heldout: batches for evaluation every `LoopConfig.eval_every` steps.
    """

    source: BatchSource | Callable[[int, Any], Any]
    num_steps: int
    learning: Learning = WHOLE
    objective: Loss = loss_sums
    heldout: Sequence[Batch] = ()

    def batch(self, step: int, params: Any) -> Any:
        """The batch of a step, given the weights before it."""
        return self.source(step, params) if callable(self.source) else self.source.batch(step)
