"""Policy gradients from verdicts: advantages within a group of attempts, and a clipped surrogate of their tokens.

GRPO (Shao et al. 2024, arXiv:2402.03300), RLOO (Ahmadian et al. 2024, arXiv:2402.14740), Dr. GRPO (Liu et al. 2025,
arXiv:2503.20783), asymmetric clipping and the mean over tokens (DAPO, Yu et al. 2025, arXiv:2503.14476). Shapes are
[B, L], rows and positions.
"""

import dataclasses
import math
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np

from t5x_selfprog.bounds import Mass, NotNegative, Positive
from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.training.cross_entropy import target_log_probabilities, total_loss
from verifier.errors import UserError

SMALLEST_DEVIATION = 1e-6  # of a group's rewards, added to what they are divided by


@dataclasses.dataclass(frozen=True)
class PolicyGradient:
    """What is maximised.

    Attributes:
      advantage: of an attempt with reward r in a group of G: "grpo" is (r - mean) / standard deviation (of a sample),
        "rloo" r less the mean of the others, "dr_grpo" r - mean.
      clip_low, clip_high: ratios of new to old probability count from 1 - clip_low to 1 + clip_high; beyond them, where
        that would be rewarded, a token has no gradient. Unequal, as DAPO's 0.2 and 0.28, they let rare tokens grow.
      average: what counts the same: an "attempt" (GRPO), a "token" (DAPO), or "constant" (Dr. GRPO: what an attempt's
        tokens sum to is divided by the most there may be).
      kl: weight of the divergence from the base, Schulman's k3: exp(d) - d - 1, where d is the base's log-probability
        less the policy's; 0 leaves the base out.
    """

    advantage: Literal["grpo", "rloo", "dr_grpo"] = "grpo"
    clip_low: Mass = 0.2
    clip_high: Positive = 0.2
    average: Literal["attempt", "token", "constant"] = "attempt"
    kl: NotNegative = 0.0

    def __post_init__(self):
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if get_origin(kind) is Literal and value not in get_args(kind):
                raise UserError(
                    f"PolicyGradient.{name}={value!r}: choose {', '.join(map(repr, get_args(kind)))}."
                )
        if not 0 < self.clip_low <= 1 or not 0 < self.clip_high < math.inf:
            raise UserError(
                f"PolicyGradient.clip_low={self.clip_low}, clip_high={self.clip_high}: the first must be above 0 and "
                "at most 1, the second above 0."
            )
        if not 0 <= self.kl < math.inf:
            raise UserError(f"PolicyGradient.kl={self.kl}: must be 0 (off) or positive.")

    def advantages(self, rewards: np.ndarray) -> np.ndarray | None:
        """Of a group's attempts, [G] float64; None where all rewards are the same and nothing can be learnt."""
        rewards = np.asarray(rewards, np.float64)
        if len(rewards) < 2 or (rewards == rewards[0]).all():
            return None
        centred = rewards - rewards.mean()
        if self.advantage == "grpo":
            return centred / (rewards.std(ddof=1) + SMALLEST_DEVIATION)
        if self.advantage == "rloo":
            return centred * (len(rewards) / (len(rewards) - 1))
        return centred


class Rollouts(NamedTuple):
    """Packed rows of prompts, each followed by its attempt. All [B, L]; the first four int32, as in `Batch`, the rest
    float32.

    weights: of each chosen token, by `PolicyGradient.average`; 0 elsewhere.
    counts: they sum to what the loss is divided by: attempts, or tokens.
    old, base: the log-probability of each token by the sampler, and by the base. advantages: of its attempt.
    """

    tokens: Any
    targets: Any
    positions: Any
    segment_ids: Any
    weights: Any
    counts: Any
    old: Any
    advantages: Any
    base: Any


def surrogate_loss(
    objective: PolicyGradient, log_probs: jax.Array, batch: Rollouts
) -> tuple[jax.Array, jax.Array]:
    """Each token's loss, unweighted, and its derivative by the token's log-probability; [B, L] float32."""
    real = batch.weights > 0
    ratio = jnp.exp(jnp.where(real, log_probs - batch.old, 0.0))
    clipped = jnp.clip(ratio, 1.0 - objective.clip_low, 1.0 + objective.clip_high)
    plain, bounded = ratio * batch.advantages, clipped * batch.advantages
    loss = -jnp.minimum(plain, bounded)
    slope = jnp.where(plain <= bounded, -plain, 0.0)
    if objective.kl:
        behind = jnp.where(real, batch.base - log_probs, 0.0)
        loss += objective.kl * (jnp.exp(behind) - behind - 1.0)
        slope += objective.kl * (1.0 - jnp.exp(behind))
    return loss, slope


def policy_loss(
    objective: PolicyGradient,
    config: ModelConfig,
    params: network.Params,
    batch: Rollouts,
    loss_chunk: int,
    **forward_options: Any,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The weighted sum of the tokens' losses, and sums to be divided by their "weight" (see `make_train_step`).

    Log-probabilities come first, without a gradient; then the loss of next tokens, which makes its gradient with its
    logits, with each token weighted by the surrogate's derivative: the same gradient, and a large vocabulary's logits
    exist for a few positions at a time.
    """
    hidden = network.forward(
        config, params, batch.tokens, batch.positions, batch.segment_ids, **forward_options
    )
    log_probs = target_log_probabilities(
        config, jax.lax.stop_gradient((params, hidden)), batch.targets, loss_chunk
    )
    loss, slope = surrogate_loss(objective, log_probs, batch)
    value = jnp.sum(batch.weights * loss)
    # d loss / d theta = sum of weights * slope * d log p / d theta, and total_loss is a sum of weighted -log p
    carrier = total_loss(config, params, hidden, batch.targets, -batch.weights * slope, loss_chunk)
    total = jax.lax.stop_gradient(value - carrier) + carrier
    outside = _outside(objective, log_probs, batch)
    shown = {
        "weight": jnp.sum(batch.counts),
        "clipped": jnp.sum(jnp.where(outside, batch.weights, 0.0)),
        "old_kl": jnp.sum(batch.weights * _k3(log_probs - batch.old, batch)),
    }
    if objective.kl:
        shown["base_kl"] = jnp.sum(batch.weights * _k3(batch.base - log_probs, batch))
    return total, shown


def _outside(objective: PolicyGradient, log_probs: jax.Array, batch: Rollouts) -> jax.Array:
    """Tokens whose ratio is beyond the bound where that would be rewarded."""
    without = dataclasses.replace(objective, kl=0.0)
    return (surrogate_loss(without, log_probs, batch)[1] == 0.0) & (batch.advantages != 0.0)


def _k3(difference: jax.Array, batch: Rollouts) -> jax.Array:
    difference = jnp.where(batch.weights > 0, difference, 0.0)
    return jnp.exp(difference) - difference - 1.0
