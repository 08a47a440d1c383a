"""Optimizers and learning-rate schedules by name, built from one dataclass."""

import dataclasses
from typing import Annotated, Any

import jax
import optax
from optax.contrib import MuonDimensionNumbers, muon

from t5x_selfprog.bounds import Decay, NotNegative, OneOf, Positive, Whole
from verifier.errors import UserError


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its learning-rate schedule.

    Attributes:
      name: "adamw", "adafactor" (Shazeer & Stern 2018) or "muon" (Jordan et al. 2024: orthogonalised momentum for
        the blocks' matrices, AdamW for everything else, scaled so that AdamW's learning rates carry over).
      schedule: after `warmup_steps` of linear rise, "constant", "linear" (to 0 at the last step), "cosine" (to a
        tenth) or "wsd" (constant, then linear to 0 over the last `decay_steps`; such a run can be extended by
        restarting it from before its decay).
      clip_norm: largest global gradient norm; 0 turns clipping off.
    """

    name: Annotated[str, OneOf(("adamw", "adafactor", "muon"))] = "adamw"
    learning_rate: Positive = 5e-6
    schedule: Annotated[str, OneOf(("constant", "linear", "cosine", "wsd"))] = "linear"
    warmup_steps: Whole = 10
    decay_steps: Whole = 0
    weight_decay: NotNegative = 0.01
    b1: Decay = 0.9
    b2: Decay = 0.999
    clip_norm: NotNegative = 1.0


def make_schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Learning rate by step for a run of `num_steps`. Raises UserError naming an unknown schedule."""
    peak, warmup = config.learning_rate, min(config.warmup_steps, num_steps)
    rest = max(1, num_steps - warmup)
    if config.schedule == "constant":
        after = optax.constant_schedule(peak)
    elif config.schedule == "linear":
        after = optax.linear_schedule(peak, 0.0, rest)
    elif config.schedule == "cosine":
        after = optax.cosine_decay_schedule(peak, rest, alpha=0.1)
    elif config.schedule == "wsd":
        flat = max(0, rest - config.decay_steps)
        decay = optax.linear_schedule(peak, 0.0, max(1, config.decay_steps))
        after = optax.join_schedules([optax.constant_schedule(peak), decay], [flat])
    else:
        raise UserError(
            f"OptimizerConfig.schedule={config.schedule!r} is unknown: choose constant, linear, cosine or wsd."
        )
    if not warmup:
        return after
    return optax.join_schedules([optax.linear_schedule(peak / warmup, peak, warmup), after], [warmup])


def make_optimizer(
    config: OptimizerConfig, schedule: optax.Schedule, axes: Any
) -> optax.GradientTransformation:
    """The optimizer for weights with these logical axes (`network.logical_axes`).

    Weight decay leaves norms, biases and embeddings alone. Raises UserError naming an unknown optimizer.
    """
    is_axes = lambda x: isinstance(x, tuple)  # noqa: E731
    decayed = jax.tree.map(_is_matrix, axes, is_leaf=is_axes)
    if config.name == "adamw":
        rule = optax.adamw(schedule, config.b1, config.b2, weight_decay=config.weight_decay, mask=decayed)
    elif config.name == "adafactor":
        rule = optax.adafactor(
            schedule, weight_decay_rate=config.weight_decay or None, weight_decay_mask=decayed
        )
    elif config.name == "muon":
        rule = muon(
            schedule,
            beta=0.95,
            weight_decay=config.weight_decay,
            adam_b1=config.b1,
            adam_b2=config.b2,
            muon_weight_dimension_numbers=jax.tree.map(_muon_dimensions, axes, is_leaf=is_axes),
            consistent_rms=0.2,
        )
    else:
        raise UserError(f"OptimizerConfig.name={config.name!r} is unknown: choose adamw, adafactor or muon.")
    return optax.chain(optax.clip_by_global_norm(config.clip_norm), rule) if config.clip_norm else rule


def _is_matrix(axes: tuple[str | None, ...]) -> bool:
    """Whether a weight is one of the blocks' matrices."""
    return _muon_dimensions(axes) is not None


def _muon_dimensions(axes: tuple[str | None, ...]) -> MuonDimensionNumbers | None:
    """Which dimensions of a block's matrix are inputs and which outputs; None for everything else."""
    if axes[0] != "layers" or "embed" not in axes or len(set(axes) - {"layers", "embed"}) == 0:
        return None
    embed = axes.index("embed")
    if "heads" not in axes and "kv" not in axes and "mlp" not in axes:
        return None
    others = tuple(i for i in range(1, len(axes)) if i != embed)
    if embed == 1:
        return MuonDimensionNumbers((embed,), others)
    return MuonDimensionNumbers(others, (embed,))
