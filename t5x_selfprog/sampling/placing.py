"""Placing work in the grid: new prompts, attempts for idle groups, the last rows in a smaller grid."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from t5x_selfprog.model.int8 import Int8, Stored, quantize
from t5x_selfprog.sampling.grid import IDLE, KEY_CHANNELS, VALUE_CHANNELS, Grid, is_by_slots
from t5x_selfprog.sampling.prefill import Prefilling, Prefix, prefill
from t5x_selfprog.sampling.weights import SamplingWeights

Leaf = Any  # an array, on the host or the device, or its shape


class Placement(NamedTuple):
    """B prompts and where they go, part by part, equally many for each part of the grid.

    Every field has a leading axis [B].
    """

    group: Leaf  # int32, counted within the part
    real: Leaf  # bool; False for places that pad the batch because a part has no prompt to take
    tokens: Leaf  # [B, L] int32, padded at the end
    length: Leaf  # int32
    starts_at_line: Leaf  # bool: the prompt ends in a newline
    item_hash: Leaf  # [B, 2] uint32
    first_sample: Leaf  # int32
    end_sample: Leaf  # int32


def load_prompts(
    fixed: Prefilling,
    layout: Grid | None,
    weights: SamplingWeights,
    prefix: Prefix | None,
    stage_key: jax.Array,
    grid: Grid,
    placement: Placement,
) -> Grid:
    """Computes prompts and writes each to its group, whose rows must all be idle.

    Each part of the mesh computes the prompts of its own groups, so none travels.

    Args:
      layout: the grid's shardings (None: one device); the batch is split as the groups are.
      stage_key: [2] uint32.
    """
    split = layout if parts(layout) > 1 else None
    tokens, lengths = placement.tokens, placement.length
    if split is not None:
        tokens = jax.lax.with_sharding_constraint(tokens, split.prompt_length)
    keys, values, logits = prefill(fixed, weights, prefix, tokens, lengths)

    def put(name: str, new: Any) -> Any:
        old = getattr(grid, name)
        if split is None:
            return jax.tree.map(lambda x, y: _put_all(x, placement.group, y, placement.real), old, new)
        return jax.tree.map(
            lambda x, y, sharding: _put_parts(x, placement, y, sharding), old, new, getattr(split, name)
        )

    def stored(name: str, new: tuple[jax.Array, ...], channels: int) -> tuple[Stored, ...]:
        """Keys or values in the form their cache stores."""
        narrow = isinstance(getattr(grid, name)[0], Int8)
        return tuple(quantize(x, channels) if narrow else x for x in new)

    new = {
        "prompt_keys": stored("prompt_keys", keys, KEY_CHANNELS),
        "prompt_values": stored("prompt_values", values, VALUE_CHANNELS),
        "first_logits": logits,
        "prompt_length": lengths,
        "starts_at_line": placement.starts_at_line,
        "item_key": jax.vmap(lambda words: item_key_of(stage_key, words))(placement.item_hash),
        "next_sample": placement.first_sample,
        "end_sample": placement.end_sample,
    }
    return dataclasses.replace(grid, **{name: put(name, value) for name, value in new.items()})


def parts(layout: Grid | None) -> int:
    """How many parts the groups of a grid with these shardings are split into."""
    if layout is None:
        return 1
    sharding: Any = layout.prompt_length
    axes = (sharding.spec[0] if len(sharding.spec) else None) or ()
    return math.prod(sharding.mesh.shape[axis] for axis in ((axes,) if isinstance(axes, str) else axes))


def share_prompts(grid: Grid, source: jax.Array, target: jax.Array, middle: jax.Array) -> Grid:
    """Moves attempts from `middle` on to the idle group `target`, with a copy of the prompt; B times, in order.

    source, target, middle: [B] int32. Targets are distinct; nothing moves to one beyond the grid. A source may be an
    earlier target.
    """
    last = grid.end_sample.shape[0] - 1

    def root(i: jax.Array, roots: jax.Array) -> jax.Array:
        """The group that holds the i-th share's prompt now, traced through earlier shares."""
        before = (target == source[i]) & (jnp.arange(len(target)) < i)
        return roots.at[i].set(jnp.where(before.any(), roots[jnp.argmax(before)], source[i]))

    def bounds(i: jax.Array, found: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        starts, ends = found
        moved = ends[jnp.minimum(source[i], last)]
        real = target[i] <= last
        ends = ends.at[target[i]].set(moved, mode="drop")
        ends = ends.at[source[i]].set(jnp.where(real, middle[i], moved))
        return starts.at[target[i]].set(middle[i], mode="drop"), ends

    roots = jax.lax.fori_loop(0, len(source), root, source)
    starts, ends = jax.lax.fori_loop(0, len(source), bounds, (grid.next_sample, grid.end_sample))

    def copy(x: jax.Array) -> jax.Array:
        return _put_all(x, target, x[roots])

    return dataclasses.replace(
        grid,
        prompt_keys=jax.tree.map(copy, grid.prompt_keys),
        prompt_values=jax.tree.map(copy, grid.prompt_values),
        first_logits=copy(grid.first_logits),
        prompt_length=copy(grid.prompt_length),
        starts_at_line=copy(grid.starts_at_line),
        item_key=copy(grid.item_key),
        next_sample=starts,
        end_sample=ends,
    )


class Moves(NamedTuple):
    """Which groups and rows go on in a smaller grid, [G'] and [G', R]."""

    group: jax.Array | np.ndarray  # [G'] int32, the prompt's old group
    row_group: jax.Array | np.ndarray  # [G', R] int32, the row's old group
    row: jax.Array | np.ndarray  # [G', R] int32, its old place there
    live: jax.Array | np.ndarray  # [G', R] bool: the row goes on; others are idle


def compact_grid(grid: Grid, moves: Moves) -> Grid:
    """The rows still at work in a smaller grid: at the end of a list of prompts, few are left.

    All attempts of all groups must have started. Given one part of a grid (see `parts`), `moves` are those within it.
    """

    def prompt(x: jax.Array) -> jax.Array:
        return x[moves.group % x.shape[0]]

    def row(x: jax.Array) -> jax.Array:
        return x[moves.row_group % x.shape[0], moves.row]

    def cache(x: jax.Array) -> jax.Array:
        if is_by_slots(x):  # [T, G, R, HC] -> [T, G', R, HC]
            return x[:, moves.row_group % x.shape[1], moves.row]
        return row(x.swapaxes(1, 2)).swapaxes(1, 2)  # [G, K, R, ...] -> [G', K, R, ...]

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


def _put_parts(x: jax.Array, placement: Placement, values: jax.Array, sharding: NamedSharding) -> jax.Array:
    """`_put_all` within each part."""
    whole, groups = sharding.spec, PartitionSpec(sharding.spec[0])
    run = jax.shard_map(
        _put_all, mesh=sharding.mesh, in_specs=(whole, groups, whole, groups), out_specs=whole
    )
    return run(x, placement.group, values, placement.real)


def _put_all(x: jax.Array, group: jax.Array, values: jax.Array, real: jax.Array | None = None) -> jax.Array:
    """x[group[b], ..., :n] = values[b] in x's dtype for each b that is real and names a group of x.

    `values` may be shorter than x in trailing dimensions. One scatter, whatever the number of prompts.
    """
    if real is not None:
        group = jnp.where(real, group, x.shape[0] + jnp.arange(len(group), dtype=group.dtype))
    window = tuple(slice(0, n) for n in values.shape[1:])
    return x.at[(group, *window)].set(values.astype(x.dtype), mode="drop", unique_indices=True)
