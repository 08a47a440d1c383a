"""Next-token loss over a large vocabulary: logits exist for a few positions at a time and are computed once."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.products import product
from t5x_selfprog.partitioning import constrain, constrain_weights


def total_loss(
    config: ModelConfig,
    params: network.Params,
    hidden: jax.Array,
    targets: jax.Array,
    weights: jax.Array,
    chunk: int,
) -> jax.Array:
    """The weighted sum of negative log-likelihoods in nats, [] float32.

    Args:
      hidden: [B, L, D] after the final norm; targets: [B, L] int32; weights: [B, L] float32, constants.
      chunk: positions of each row whose logits exist at a time. Chunks split the length, never the sharded batch.
    """
    kernel = params["embedding"] if config.head == "tied" else params["head"]
    return _total(config.head, chunk, hidden, kernel, params.get("head_bias"), targets, weights)


def target_log_probabilities(
    config: ModelConfig, weights: tuple[network.Params, jax.Array], targets: jax.Array, chunk: int
) -> jax.Array:
    """The log-probability of each target in nats, [B, L] float32, without a gradient.

    weights: the model's, and hidden states as `total_loss` takes them.
    """
    params, hidden = jax.lax.stop_gradient(weights)
    kernel = params["embedding"] if config.head == "tied" else params["head"]
    found = []
    for part in _parts(hidden.shape[1], chunk):
        logits, log_z, chosen = _logits(
            config.head, hidden[:, part], kernel, params.get("head_bias"), targets[:, part]
        )
        found.append(jnp.sum(jnp.where(chosen, logits, 0.0), axis=-1) - log_z[..., 0])
    return jnp.concatenate(found, axis=1)


class _Products(NamedTuple):
    """The head's three products as einsum specifications, which depend on the kernel's layout."""

    logits: str  # hidden, kernel
    to_hidden: str  # gradient of the logits, kernel
    to_kernel: str  # gradient of the logits, hidden


_PRODUCTS = {
    "tied": _Products("bld,vd->blv", "blv,vd->bld", "blv,bld->vd"),
    "separate": _Products("bld,dv->blv", "blv,dv->bld", "blv,bld->dv"),
}
_AXES = {"tied": ("vocab", "embed"), "separate": ("embed", "vocab")}  # of the kernel


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _total(head, chunk, hidden, kernel, bias, targets, weights) -> jax.Array:
    total = jnp.zeros((), jnp.float32)
    for part in _parts(hidden.shape[1], chunk):
        total, hidden = jax.lax.optimization_barrier((total, hidden))  # one chunk after another
        total += _chunk(head, hidden[:, part], kernel, bias, targets[:, part], weights[:, part])[0]
    return total


def _forward(head, chunk, hidden, kernel, bias, targets, weights) -> tuple[jax.Array, tuple]:
    """The loss comes last, so its gradient is computed with the logits, and no chunk is computed twice."""
    products = _PRODUCTS[head]
    total, to_hidden, to_kernel = jnp.zeros((), jnp.float32), [], jnp.zeros(kernel.shape, jnp.float32)
    to_bias = None if bias is None else jnp.zeros(bias.shape, jnp.float32)
    for part in _parts(hidden.shape[1], chunk):
        total, hidden = jax.lax.optimization_barrier((total, hidden))
        x = hidden[:, part]
        loss, to_logits = _chunk(head, x, kernel, bias, targets[:, part], weights[:, part])
        total += loss
        if to_bias is not None:
            to_bias += jnp.sum(to_logits, axis=(0, 1))
        to_logits = to_logits.astype(x.dtype)
        to_hidden.append(product(products.to_hidden, to_logits, kernel))
        to_kernel += product(products.to_kernel, to_logits, x, "float32")
        to_kernel = constrain_weights(
            to_kernel, _AXES[head]
        )  # each chunk's sum over all rows, not kept whole
    # A frozen kernel may be narrower than its gradient, which nobody asks for then.
    return total, (jnp.concatenate(to_hidden, axis=1), to_kernel.astype(kernel.dtype), to_bias, weights)


def _backward(head, chunk, saved, g: jax.Array) -> tuple:
    to_hidden, to_kernel, to_bias, weights = saved
    to_bias = None if to_bias is None else g * to_bias
    return g.astype(to_hidden.dtype) * to_hidden, g * to_kernel, to_bias, None, jnp.zeros_like(weights)


_total.defvjp(_forward, _backward)


def _chunk(head, hidden, kernel, bias, targets, weights) -> tuple[jax.Array, jax.Array]:
    """The loss of one chunk, and its gradient with respect to the logits, [B, l, V] float32."""
    logits, log_z, chosen = _logits(head, hidden, kernel, bias, targets)
    picked = jnp.sum(jnp.where(chosen, logits, 0.0), axis=-1)
    loss = jnp.sum(weights * (log_z[..., 0] - picked))
    return loss, (jnp.exp(logits - log_z) - chosen.astype(jnp.float32)) * weights[..., None]


def _logits(head, hidden, kernel, bias, targets) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Logits of one chunk [B, l, V], their log-sum-exp [B, l, 1], and a mask of the targets [B, l, V]."""
    logits = constrain(
        product(_PRODUCTS[head].logits, hidden, kernel, "float32"), ("batch", "length", "vocab")
    )
    if bias is not None:
        logits += bias.reshape(1, 1, -1)
    log_z = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    return logits, log_z, jnp.arange(logits.shape[-1])[None, None] == targets[..., None]


def _parts(length: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, length)) for start in range(0, length, chunk)]
