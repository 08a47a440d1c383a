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
    weights: Callable[[Any, Any], network.Params] = lambda changed, frozen: changed,
    loss: Callable[..., tuple[jax.Array, Any]] = loss_sums,
    **forward_options: Any,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """A pure function (state, batch, frozen) -> (state, metrics), to be jitted with the state donated.

    The batch is split into `accumulate` parts along B, whose gradients are summed before a single update; the result is
    the same mean over all weighted tokens.

    Args:
      weights: builds the model's weights from the trainable and the frozen ones.
      loss: like `loss_sums`, the default. Instead of the sum of the weights it may return a dict of sums with the key
        "weight"; the others are divided by it and returned as metrics.
    """

    def sums(changed: Any, part: Batch, frozen: Any) -> tuple[jax.Array, Any]:
        return loss(config, weights(changed, frozen), part, loss_chunk, **forward_options)

    grad_fn = jax.value_and_grad(sums, has_aux=True)

    def train_step(
        state: TrainState, batch: Batch, frozen: Any = ()
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        if accumulate == 1:
            (loss, aside), grads = grad_fn(state.params, batch, frozen)
        else:
            parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch)

            def add(carry, part):
                (loss, aside), grads = grad_fn(state.params, part, frozen)
                return jax.tree.map(jnp.add, carry, (loss, aside, grads)), None

            first = jax.tree.map(lambda x: x[0], parts)
            (_, asides), _ = jax.eval_shape(grad_fn, state.params, first, frozen)
            zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), asides)
            zero = (jnp.zeros(()), zeros, jax.tree.map(jnp.zeros_like, state.params))
            (loss, aside, grads), _ = jax.lax.scan(add, zero, parts)
        shown = dict(aside) if isinstance(aside, dict) else {"weight": aside}
        weight = jnp.maximum(shown.pop("weight"), 1e-9)
        grads = jax.tree.map(lambda g: g / weight, grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = {"loss": loss / weight, "grad_norm": optax.tree.norm(grads), "weight": weight}
        metrics |= {name: value / weight for name, value in shown.items()}
        return TrainState(state.step + 1, params, opt_state), metrics

    return train_step
