"""How training runs, independent of the data."""

import dataclasses
import functools
from collections.abc import Callable, Collection
from typing import Annotated

import jax

from t5x_selfprog.bounds import Count, CountOrAll, OneOf, Whole
from t5x_selfprog.model import packed_attention
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.products import PROJECTION
from t5x_selfprog.training.optimizers import OptimizerConfig
from verifier.errors import UserError

REMAT: dict[str, Callable[[Callable], Callable]] = {
    "none": lambda f: f,
    "dots": functools.partial(
        jax.checkpoint, policy=jax.checkpoint_policies.save_only_these_names(PROJECTION)
    ),
    "full": jax.checkpoint,
}


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """How training runs, independent of the data.

    Attributes:
      accumulate: parts a batch is split into; gradients are summed over them.
      loss_chunk: positions of a row whose logits exist at a time.
      remat: what the backward pass recomputes instead of keeping: "none", "dots" (everything but the results of
        projections: saves most of the memory for a few percent more arithmetic), or "full" (everything but each
        layer's input: a third more arithmetic).
      dtype: the type of activations and gradients, "float32" or "bfloat16"; weights, their updates and the loss stay
        float32. None means the model's own, but float32 on a CPU without bfloat16 units.
      attention: "plain", "splash" (TPU) or "cudnn" (NVIDIA GPU, bfloat16); see model/packed_attention.py.
      unroll: layers per step of the loop over depth (-1: all of them).
      checkpoint_every_s: seconds from one checkpoint to the next, looked at where the loss is logged: at 2.7B one is
        32 GB, and what a kill costs is time, not steps.
      checkpoint_every, log_every, eval_every: in steps; 0 turns the first and evaluation off.
      keep: how many checkpoints stay on disk.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    accumulate: Count = 1
    loss_chunk: Count = 512
    remat: Annotated[str, OneOf(REMAT)] = "none"
    dtype: Annotated[str, OneOf(("float32", "bfloat16"))] | None = None
    attention: Annotated[str, OneOf(packed_attention.KERNELS)] = "plain"
    unroll: CountOrAll = 1
    checkpoint_every_s: float = 180.0
    checkpoint_every: Whole = 0
    log_every: Count = 10
    eval_every: Whole = 0
    keep: Count = 1

    def __post_init__(self):
        choices: dict[str, Collection[str | None]] = {
            "remat": REMAT,
            "dtype": (None, "float32", "bfloat16"),
            "attention": packed_attention.KERNELS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UserError(
                    f"LoopConfig.{name}={getattr(self, name)!r} is unknown: choose {', '.join(map(str, known))}."
                )

    def computing(self, config: ModelConfig) -> ModelConfig:
        """The model's configuration with this loop's dtype."""
        return config if self.dtype is None else dataclasses.replace(config, dtype=self.dtype)

    def forward_options(self, config: ModelConfig) -> dict:
        return {
            "remat": REMAT[self.remat],
            "unroll": config.num_layers if self.unroll == -1 else self.unroll,
            "attention": packed_attention.KERNELS[self.attention],
        }
