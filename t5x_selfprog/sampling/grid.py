"""What the device holds while it samples: a grid of G prompt groups with R rows each.

Letters beyond the model's (B L D V N H K C F):
  G prompt groups   R rows (attempts under way) a group   S prompt slots   T suffix slots = max_new_tokens
  P tokens of the prefix that all prompts share

A group holds its prompt's keys and values once for all its rows. A row's own keys and values live in a ring of T slots
that all rows write at the same place, (step mod T), so that one aligned write serves rows of every age; a row sees the
last `age` slots of it. The ring has one of two layouts: by heads, or by slots (see `model.attention.Slots`).
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.int8 import Int8, Stored, empty
from t5x_selfprog.partitioning import Partitioner

IDLE = -1  # the sample index of a row without an attempt
KEY_CHANNELS, VALUE_CHANNELS = -2, -1  # the axis of C in keys and in values; an Int8 scale spans it


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Grid:
    """Each cache has one leaf per layer (two for Int8), so that donated buffers are written in place."""

    prompt_keys: tuple[Stored, ...]  # N x [G, K, C, S]
    prompt_values: tuple[Stored, ...]  # N x [G, K, S, C]
    suffix_keys: tuple[Stored, ...]  # N x [G, K, R, C, T], or by slots [T, G, R, H*C]
    suffix_values: tuple[Stored, ...]  # N x [G, K, R, T, C], or by slots [T, G, R, H*C]
    # For each group:
    first_logits: jax.Array  # [G, V] float32, after the prompt's last token
    prompt_length: jax.Array  # [G] int32, without the prefix
    starts_at_line: jax.Array  # [G] bool: the prompt ends in a newline
    item_key: jax.Array  # [G, 2] uint32, threefry key of the item
    next_sample: jax.Array  # [G] int32, the index of the next attempt to start
    end_sample: jax.Array  # [G] int32, one past the group's last attempt
    # For each row:
    sample: jax.Array  # [G, R] int32, the index of its attempt or IDLE
    token: jax.Array  # [G, R] int32, the last one chosen; its keys and values are not in the ring yet
    age: jax.Array  # [G, R] int32, tokens chosen so far
    at_line_start: jax.Array  # [G, R] bool
    step: jax.Array  # [] int32, decoding steps since the grid was made


def empty_grid(
    config: ModelConfig,
    groups: int,
    rows: int,
    prompt_slots: int,
    suffix_slots: int,
    cache_dtype: str,
    by_slots: bool = False,
) -> Grid:
    """A grid whose rows are all idle."""
    k, c, n = config.num_kv_heads, config.head_dim, config.num_layers

    def caches(*shape: int, channels: int = KEY_CHANNELS) -> tuple[Stored, ...]:
        return tuple(empty(shape, cache_dtype, channels) for _ in range(n))

    if by_slots:
        suffix_keys = suffix_values = caches(suffix_slots, groups, rows, k * c)
    else:
        suffix_keys = caches(groups, k, rows, c, suffix_slots)
        suffix_values = caches(groups, k, rows, suffix_slots, c, channels=VALUE_CHANNELS)
    return Grid(
        prompt_keys=caches(groups, k, c, prompt_slots),
        prompt_values=caches(groups, k, prompt_slots, c, channels=VALUE_CHANNELS),
        suffix_keys=suffix_keys,
        suffix_values=suffix_values,
        first_logits=jnp.zeros((groups, config.vocab_size), jnp.float32),
        prompt_length=jnp.zeros(groups, jnp.int32),
        starts_at_line=jnp.zeros(groups, bool),
        item_key=jnp.zeros((groups, 2), jnp.uint32),
        next_sample=jnp.zeros(groups, jnp.int32),
        end_sample=jnp.zeros(groups, jnp.int32),
        sample=jnp.full((groups, rows), IDLE, jnp.int32),
        token=jnp.zeros((groups, rows), jnp.int32),
        age=jnp.zeros((groups, rows), jnp.int32),
        at_line_start=jnp.zeros((groups, rows), bool),
        step=jnp.zeros((), jnp.int32),
    )


def lies_by_slots(config: ModelConfig, cache_dtype: str, platform: str) -> bool:
    """Whether rows' own keys and values are laid out by slots: on TPUs, if the model and the dtype allow it."""
    return platform == "tpu" and config.num_kv_heads == config.num_heads and cache_dtype != "int8"


def is_by_slots(cache: Stored) -> bool:
    """Whether a layer's suffix keys or values are laid out by slots."""
    return not isinstance(cache, Int8) and cache.ndim == 4


def grid_shardings(partitioner: Partitioner, shapes: Grid) -> Grid:
    """Splits groups over the batch axes (rows where groups do not divide), heads and vocabulary over theirs."""

    def lay_out(names: tuple[str | None, ...], shape: tuple[int, ...]) -> NamedSharding:
        parts: list = [None] * len(shape)
        used: set[str] = set()
        for i, name in enumerate(names):
            axes = () if name is None else tuple(partitioner.rules[name])
            ways = math.prod(partitioner.mesh.shape[axis] for axis in axes)
            if axes and not used & set(axes) and shape[i] % ways == 0:
                parts[i] = axes
                used |= set(axes)
        return NamedSharding(partitioner.mesh, PartitionSpec(*parts))

    own = ("batch", "kv", "batch", None, None)
    by_slots = (None, "batch", "batch", "kv")
    names: dict[str, tuple[str | None, ...]] = {
        "prompt_keys": ("batch", "kv", None, None),
        "prompt_values": ("batch", "kv", None, None),
        "suffix_keys": by_slots if is_by_slots(shapes.suffix_keys[0]) else own,
        "suffix_values": by_slots if is_by_slots(shapes.suffix_values[0]) else own,
        "first_logits": ("batch", "vocab"),
        "item_key": ("batch", None),
    }
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(Grid):
        axes = names.get(field.name)
        fields[field.name] = jax.tree.map(
            lambda leaf, axes=axes: lay_out(axes or ("batch",) * leaf.ndim, leaf.shape),
            getattr(shapes, field.name),
        )
    return Grid(**fields)


def slots(keys: Stored) -> int:
    """How many positions a cache of keys holds."""
    return jax.tree.leaves(keys)[0].shape[-1]
