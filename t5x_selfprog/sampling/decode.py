"""Decoding steps: one token for every row of the grid, k steps in one device program.

A row whose attempt ends starts its group's next attempt in the following step without asking the host; the host only
reads what happened, chunk by chunk, and loads new prompts.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from t5x_selfprog.model import network
from t5x_selfprog.model.attention import MASKED
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.sampling import stop
from t5x_selfprog.sampling.grid import IDLE, Grid
from t5x_selfprog.sampling.prefill import Prefix
from t5x_selfprog.sampling.row_attention import Caches, RowAttention, Rows, plain
from t5x_selfprog.sampling.token_choice import TokenChoice, log_sum_exp
from t5x_selfprog.sampling.weights import SamplingWeights


class Events(NamedTuple):
    """What happened to each row in one step, [G, R] each; in a chunk with a leading axis [k]."""

    sample: jax.Array  # int32, the attempt, or IDLE
    token: jax.Array  # int32, the token it chose
    logprob: jax.Array  # float32, the model's own log-probability of it (temperature 1, nothing cut off)
    reason: jax.Array  # int32, why the attempt ends with this token: an index into stop.REASONS, or 0


@dataclasses.dataclass(frozen=True)
class Decoding:
    """What is fixed for the life of a program.

    Attributes:
      vocab_size: tokens of the tokenizer; the embedding's padding rows beyond them are never chosen.
      holes: ids below `vocab_size` that are not tokens and are never chosen either.
      end_ids: tokens that end an attempt, because they end a document or an answer.
      attention: how a step's attention is computed.
    """

    config: ModelConfig
    choice: TokenChoice
    prefix_length: int
    vocab_size: int
    end_ids: tuple[int, ...]
    max_new_tokens: int
    attention: RowAttention = plain
    holes: tuple[int, ...] = ()


def decode_chunk(
    fixed: Decoding,
    steps: int,
    weights: SamplingWeights,
    prefix: Prefix | None,
    tables: stop.StopTables,
    grid: Grid,
) -> tuple[Grid, Events]:
    """`steps` decoding steps, with their events stacked: [steps, G, R]."""
    return jax.lax.scan(lambda grid, _: decode_step(fixed, weights, prefix, tables, grid), grid, length=steps)


def decode_step(
    fixed: Decoding,
    weights: SamplingWeights,
    prefix: Prefix | None,
    tables: stop.StopTables,
    grid: Grid,
) -> tuple[Grid, Events]:
    """Starts attempts in idle rows, then chooses a token for every row that has an attempt."""
    grid = start_attempts(grid)
    logits, caches = next_logits(fixed, weights, prefix, grid)
    logits = jnp.where((grid.age == 0)[..., None], grid.first_logits[:, None], logits)
    if fixed.vocab_size < fixed.config.vocab_size or fixed.holes:
        real = np.arange(fixed.config.vocab_size) < fixed.vocab_size
        real[list(fixed.holes)] = False
        logits = jnp.where(real[None, None], logits, MASKED)
    token = fixed.choice(logits, uniforms(grid.item_key, grid.sample, grid.age))
    chosen = jnp.take_along_axis(logits, token[..., None], axis=-1)[..., 0]
    logprob = chosen - log_sum_exp(logits)
    unindented, at_line_start = stop.advance(tables, token, grid.at_line_start)
    age = grid.age + 1
    reason = jnp.where(
        stop.is_any_of(token, fixed.end_ids),
        stop.EOS,
        jnp.where(unindented, stop.UNINDENTED, jnp.where(age >= fixed.max_new_tokens, stop.LENGTH, 0)),
    ).astype(jnp.int32)
    events = Events(grid.sample, token, logprob, jnp.where(grid.sample == IDLE, 0, reason))
    suffix_keys, suffix_values = caches
    grid = dataclasses.replace(
        grid,
        suffix_keys=suffix_keys,
        suffix_values=suffix_values,
        sample=jnp.where(reason > 0, IDLE, grid.sample),
        token=token,
        age=age,
        at_line_start=at_line_start,
        step=grid.step + 1,
    )
    return grid, events


def start_attempts(grid: Grid) -> Grid:
    """Gives idle rows their group's next attempts, in order, while there are any."""
    idle = grid.sample == IDLE
    candidate = grid.next_sample[:, None] + jnp.cumsum(idle, axis=1, dtype=jnp.int32) - 1
    starts = idle & (candidate < grid.end_sample[:, None])
    return dataclasses.replace(
        grid,
        next_sample=grid.next_sample + jnp.sum(starts, axis=1, dtype=jnp.int32),
        sample=jnp.where(starts, candidate, grid.sample),
        age=jnp.where(starts, 0, grid.age),
        at_line_start=jnp.where(starts, grid.starts_at_line[:, None], grid.at_line_start),
    )


def next_logits(
    fixed: Decoding, weights: SamplingWeights, prefix: Prefix | None, grid: Grid
) -> tuple[jax.Array, tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]]:
    """The model's logits after each row's last token, [G, R, V] float32 (garbage for rows of age 0).

    Also returns the suffix caches with that token's keys and values written.
    """
    config, step = fixed.config, grid.step
    if weights.narrow:  # or XLA would cast once, outside the loop, and read wide weights in every step
        weights, step = jax.lax.optimization_barrier((weights, step))
    model = network.bind(config, weights.outer)
    rows = Rows(grid.prompt_length, grid.age, step % fixed.max_new_tokens, fixed.prefix_length)
    position = fixed.prefix_length + rows.place
    scale = config.attention_scale or config.head_dim**-0.5
    x = model.embed(grid.token, position)

    @functools.partial(jax.jit, static_argnames="window", inline=True)  # layers of a kind are traced once
    def layer(x, weights, caches, rows, position, window):
        def attend_fn(q, k, v):
            return fixed.attention(q, k, v, caches, rows, window, scale)

        return network.bind_block(config, weights)(x, position, attend_fn)

    suffix = []
    for i, window in enumerate(config.layer_windows()):
        prompt = grid.prompt_keys[i], grid.prompt_values[i]
        own = grid.suffix_keys[i], grid.suffix_values[i]
        before = None if prefix is None else (prefix.keys[i], prefix.values[i])
        x, own = layer(x, weights.layers[i], Caches(prompt, own, before), rows, position, window=window)
        suffix.append(own)
    keys, values = zip(*suffix, strict=True)
    return model.logits(model.final_norm(x)), (keys, values)


def uniforms(item_key: jax.Array, sample: jax.Array, index: jax.Array) -> jax.Array:
    """One number in [0, 1) for each row, from the item, the sample index and the token's index alone.

    Args:
      item_key: [G, 2] uint32; sample, index: [G, R] int32.

    Returns:
      [G, R] float32.
    """

    def one(key: jax.Array, sample: jax.Array, index: jax.Array) -> jax.Array:
        key = jax.random.wrap_key_data(key, impl="threefry2x32")
        return jax.random.uniform(jax.random.fold_in(jax.random.fold_in(key, sample), index))

    return jax.vmap(jax.vmap(one, (None, 0, 0)))(item_key, sample, index)
