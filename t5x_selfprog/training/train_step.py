"""The loss and one optimizer step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.training.batches import Batch
from t5x_selfprog.training.cross_entropy import total_loss


class TrainState(NamedTuple):
    """`params` and `opt_state` are float32 trees; `step` counts the updates made so far."""

    step: Any
    params: Any
    opt_state: Any


def loss_sums(
    config: ModelConfig, params: network.Params, batch: Batch, loss_chunk: int, **forward_options: Any
) -> tuple[jax.Array, jax.Array]:
    """The weighted sum of next-token negative log-likelihoods (nats), and the sum of the weights.

    Args:
      loss_chunk: positions of each row whose logits exist at a time, which bounds the memory of a large vocabulary.
    """
    hidden = network.forward(
        config, params, batch.tokens, batch.positions, batch.segment_ids, **forward_options
    )
    total = total_loss(config, params, hidden, batch.targets, batch.weights, loss_chunk)
    return total, jnp.sum(batch.weights)


def make_train_step(
    config: ModelConfig,
    optimizer: optax.GradientTransformation,
    *,
    accumulate: int = 1,
    loss_chunk: int = 512,
    **forward_options: Any,
) -> Callable[[TrainState, Batch], tuple[TrainState, dict[str, jax.Array]]]:
    """A pure function (state, batch) -> (state, metrics), to be jitted with the state donated.

    The batch is split into `accumulate` parts along B, whose gradients are summed before a single update; the result is
    the same mean over all weighted tokens.
    """

    def sums(params: network.Params, part: Batch) -> tuple[jax.Array, jax.Array]:
        return loss_sums(config, params, part, loss_chunk, **forward_options)

    grad_fn = jax.value_and_grad(sums, has_aux=True)

    def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, dict[str, jax.Array]]:
        if accumulate == 1:
            (loss, weight), grads = grad_fn(state.params, batch)
        else:
            parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch)

            def add(carry, part):
                (loss, weight), grads = grad_fn(state.params, part)
                return jax.tree.map(jnp.add, carry, (loss, weight, grads)), None

            zero = (jnp.zeros(()), jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.params))
            (loss, weight, grads), _ = jax.lax.scan(add, zero, parts)
        weight = jnp.maximum(weight, 1e-9)
        grads = jax.tree.map(lambda g: g / weight, grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss / weight, "grad_norm": optax.tree.norm(grads), "weight": weight}
        return TrainState(state.step + 1, params, opt_state), metrics

    return train_step
