"""Prefill: each prompt runs through the model once for all its attempts, giving keys, values and the last logits."""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from t5x_selfprog.model import network
from t5x_selfprog.model.attention import Piece, attend_pieces, by_channel, by_position
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.int8 import Stored, store
from t5x_selfprog.sampling.grid import KEY_CHANNELS, VALUE_CHANNELS, slots
from t5x_selfprog.sampling.weights import SamplingWeights

QUERY_BLOCK = 128  # the scores of this many queries fit a CPU's cache
GPU_QUERY_BLOCK = 512  # fewer, larger products compile sooner and start fewer kernels (results/speed)


@dataclasses.dataclass(frozen=True)
class Prefilling:
    """What is fixed for the life of a program that computes prompts.

    Attributes:
      prefix_length: tokens before every prompt.
      block: so many queries attend at a time.
    """

    config: ModelConfig
    prefix_length: int = 0
    block: int = QUERY_BLOCK


class Prefix(NamedTuple):
    """Keys and values of the text before every prompt; local layers keep what their window reaches."""

    keys: tuple[Stored, ...]  # N x [1, K, C, P]
    values: tuple[Stored, ...]  # N x [1, K, P, C]


def prefill(
    fixed: Prefilling,
    weights: SamplingWeights,
    prefix: Prefix | None,
    tokens: jax.Array,
    lengths: jax.Array,
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...], jax.Array]:
    """Computes prompts that follow the prefix.

    Args:
      tokens: [B, L] int32, padded at the end with anything; lengths: [B] int32, each at least 1.

    Returns:
      Keys N x [B, K, C, L], values N x [B, K, L, C] (garbage past a prompt's length), and the logits after each
      prompt's last token, [B, V] float32.
    """
    config = fixed.config
    model = network.bind(config, weights.outer)
    positions = fixed.prefix_length + jnp.broadcast_to(jnp.arange(tokens.shape[1])[None], tokens.shape)
    x = model.embed(tokens, positions)

    @functools.partial(jax.jit, static_argnames="window", inline=True)  # layers of a kind are traced once
    def layer(x, weights, before, positions, window):
        def attend_fn(q, k, v):
            k, v = by_channel(k), by_position(v)
            return _attend(fixed, q, k, v, before, window), (k, v)

        return network.bind_block(config, weights)(x, positions, attend_fn)

    keys, values = [], []
    for i, window in enumerate(config.layer_windows()):
        before = None if prefix is None else (prefix.keys[i], prefix.values[i])
        x, (k, v) = layer(x, weights.layers[i], before, positions, window=window)
        keys.append(k)
        values.append(v)
    last = jnp.take_along_axis(x, (lengths - 1)[:, None, None], axis=1)[:, 0]
    return tuple(keys), tuple(values), model.logits(model.final_norm(last))


def compute_prefix(
    fixed: Prefilling, weights: SamplingWeights, tokens: jax.Array, cache_dtype: str = "float32"
) -> Prefix:
    """The prefix itself, [P] int32 tokens, as prompts of `fixed` will follow it."""
    length = jnp.full(1, tokens.shape[0], jnp.int32)
    keys, values, _ = prefill(
        dataclasses.replace(fixed, prefix_length=0), weights, None, tokens[None], length
    )
    # The first position after the prefix sees window - 1 positions back.
    reach = [tokens.shape[0] if w is None else max(1, w - 1) for w in fixed.config.layer_windows()]
    return Prefix(
        tuple(store(k[..., -r:], cache_dtype, KEY_CHANNELS) for k, r in zip(keys, reach, strict=True)),
        tuple(store(v[..., -r:, :], cache_dtype, VALUE_CHANNELS) for v, r in zip(values, reach, strict=True)),
    )


def prefix_mask(slots: int, prefix_length: int, positions: jax.Array, window: int | None) -> jax.Array:
    """Which of the prefix's last `slots` positions are visible from `positions` [G, R]: [G, R, slots] bool."""
    if window is None:
        return jnp.ones((1, 1, slots), bool)
    kept = jnp.arange(prefix_length - slots, prefix_length)
    return positions[..., None] - kept[None, None] < window


def _attend(fixed: Prefilling, q, k, v, before, window: int | None) -> jax.Array:
    """Causal attention of [B, L] queries over the prefix and the prompt itself, a block of queries at a time."""
    config, prefix_length = fixed.config, fixed.prefix_length
    length, scale = q.shape[1], config.attention_scale or config.head_dim**-0.5
    out = []
    for start in range(0, length, fixed.block):
        end = min(start + fixed.block, length)
        first = 0 if window is None else max(0, start - window + 1)
        back = jnp.arange(start, end)[:, None] - jnp.arange(first, end)[None]
        seen = (back >= 0) if window is None else (back >= 0) & (back < window)
        pieces = [Piece(k[..., first:end], v[..., first:end, :], seen[None])]
        if before is not None and (window is None or start < window - 1):
            positions = prefix_length + jnp.arange(start, end)[None]
            mask = prefix_mask(slots(before[0]), prefix_length, positions, window)
            pieces.append(Piece(before[0], before[1], mask))
        out.append(attend_pieces(q[:, start:end], pieces, scale))
    return jnp.concatenate(out, axis=1)
