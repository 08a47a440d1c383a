"""Bringing work to its place: new prompts, attempts for idle groups, the last rows into a smaller grid."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.int8 import Int8, Stored, quantize
from t5x_selfprog.sampling.grid import IDLE, KEY_CHANNELS, VALUE_CHANNELS, Grid
from t5x_selfprog.sampling.prefill import Prefix, prefill
from t5x_selfprog.sampling.weights import SamplingWeights


class Placement(NamedTuple):
    """B prompts and where they go; every field has a leading axis [B]."""

    group: jax.Array  # int32
    tokens: jax.Array  # [B, L] int32, padded at the end
    length: jax.Array  # int32
    starts_at_line: jax.Array  # bool: the prompt ends in a newline
    item_hash: jax.Array  # [B, 2] uint32
    first_sample: jax.Array  # int32
    end_sample: jax.Array  # int32


def load_prompts(
    config: ModelConfig,
    prefix_length: int,
    weights: SamplingWeights,
    prefix: Prefix | None,
    stage_key: jax.Array,
    grid: Grid,
    placement: Placement,
) -> Grid:
    """Computes prompts and gives each to its group, whose rows must all be idle. stage_key: [2] uint32."""
    keys, values, logits = prefill(config, weights, prefix, prefix_length, placement.tokens, placement.length)
    item_key = jax.vmap(lambda words: item_key_of(stage_key, words))(placement.item_hash)
    prompt_keys, prompt_values = list(grid.prompt_keys), list(grid.prompt_values)
    for b in range(len(placement.group)):
        for i in range(config.num_layers):
            prompt_keys[i] = _put_cache(prompt_keys[i], placement.group[b], keys[i][b], KEY_CHANNELS)
            prompt_values[i] = _put_cache(prompt_values[i], placement.group[b], values[i][b], VALUE_CHANNELS)

    def put(old: jax.Array, new: jax.Array) -> jax.Array:
        return old.at[placement.group].set(new)

    return dataclasses.replace(
        grid,
        prompt_keys=tuple(prompt_keys),
        prompt_values=tuple(prompt_values),
        first_logits=put(grid.first_logits, logits),
        prompt_length=put(grid.prompt_length, placement.length),
        starts_at_line=put(grid.starts_at_line, placement.starts_at_line),
        item_key=put(grid.item_key, item_key),
        next_sample=put(grid.next_sample, placement.first_sample),
        end_sample=put(grid.end_sample, placement.end_sample),
    )


def share_prompt(grid: Grid, source: jax.Array, target: jax.Array, middle: jax.Array) -> Grid:
    """Moves attempts from `middle` on to `target`, an idle group, with a copy of the prompt. All [] int32."""

    def copy(x: jax.Array) -> jax.Array:
        return _put(x, target, jax.lax.dynamic_index_in_dim(x, source, keepdims=False))

    return dataclasses.replace(
        grid,
        prompt_keys=jax.tree.map(copy, grid.prompt_keys),
        prompt_values=jax.tree.map(copy, grid.prompt_values),
        first_logits=copy(grid.first_logits),
        prompt_length=copy(grid.prompt_length),
        starts_at_line=copy(grid.starts_at_line),
        item_key=copy(grid.item_key),
        next_sample=grid.next_sample.at[target].set(middle),
        end_sample=copy(grid.end_sample).at[source].set(middle),
    )


class Moves(NamedTuple):
    """Which groups and rows go on in a smaller grid, [G'] and [G', R]."""

    group: jax.Array | np.ndarray  # [G'] int32, where the prompt is
    row_group: jax.Array | np.ndarray  # [G', R] int32, where the row is
    row: jax.Array | np.ndarray  # [G', R] int32
    live: jax.Array | np.ndarray  # [G', R] bool: the row goes on; others are idle


def narrow_grid(grid: Grid, moves: Moves) -> Grid:
    """The rows still at work in a smaller grid: at the end of a list of prompts, few are left.

    All attempts of all groups must have started.
    """

    def prompt(x: jax.Array) -> jax.Array:
        return x[moves.group]

    def row(x: jax.Array) -> jax.Array:
        return x[moves.row_group, moves.row]

    def cache(x: jax.Array) -> jax.Array:  # [G, K, R, ...] -> [G', K, R, ...]
        return row(x.swapaxes(1, 2)).swapaxes(1, 2)

    return Grid(
        prompt_keys=jax.tree.map(prompt, grid.prompt_keys),
        prompt_values=jax.tree.map(prompt, grid.prompt_values),
        suffix_keys=jax.tree.map(cache, grid.suffix_keys),
        suffix_values=jax.tree.map(cache, grid.suffix_values),
        first_logits=prompt(grid.first_logits),
        prompt_length=prompt(grid.prompt_length),
        starts_at_line=prompt(grid.starts_at_line),
        item_key=prompt(grid.item_key),
        next_sample=prompt(grid.end_sample),
        end_sample=prompt(grid.end_sample),
        sample=jnp.where(moves.live, row(grid.sample), IDLE),
        token=row(grid.token),
        age=row(grid.age),
        at_line_start=row(grid.at_line_start),
        step=grid.step,
    )


def item_key_of(stage_key: jax.Array, item_hash: jax.Array) -> jax.Array:
    """The item's threefry key, [2] uint32; item_hash: [2] uint32."""
    key = jax.random.wrap_key_data(stage_key, impl="threefry2x32")
    for i in range(2):
        key = jax.random.fold_in(key, item_hash[i])
    return jax.random.key_data(key)


def _put_cache(cache: Stored, index: jax.Array, new: jax.Array, channels: int) -> Stored:
    """`_put` of keys or values as the cache stores them."""
    stored = quantize(new, channels) if isinstance(cache, Int8) else new
    return jax.tree.map(lambda x, value: _put(x, index, value), cache, stored)


def _put(x: jax.Array, index: jax.Array, value: jax.Array) -> jax.Array:
    """x[index, ..., :n] = value in x's dtype, where value may be shorter than x in trailing dimensions."""
    return jax.lax.dynamic_update_slice(x, value[None].astype(x.dtype), (index, *(0,) * value.ndim))
