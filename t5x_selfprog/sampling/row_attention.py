"""One layer's attention in a decoding step: what it sees and writes of prefix, prompt and each row's own ring.

Two implementations, equal to rounding:
  plain     any machine and dtype; the reference
  triton    NVIDIA GPU, caches of the activations' dtype: two kernels, see `row_attention_triton`
"""

import dataclasses
import functools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from t5x_selfprog.model.attention import Piece, Slots, attend_pieces, by_channel, by_position
from t5x_selfprog.model.int8 import Int8, Stored, quantize
from t5x_selfprog.sampling.grid import KEY_CHANNELS, VALUE_CHANNELS, is_by_slots, slots
from t5x_selfprog.sampling.prefill import prefix_mask

Pair = tuple[Any, Any]  # keys and values, each Stored


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Rows:
    """Where each row stands in a step.

    Attributes:
      prompt_length: [G] int32, without the prefix.
      age: [G, R] int32, tokens chosen so far; the last of them is this step's input.
      slot: [] int32, where the ring is written.
      prefix_length: tokens of the text before every prompt.
    """

    prompt_length: jax.Array
    age: jax.Array
    slot: jax.Array
    prefix_length: int = dataclasses.field(metadata={"static": True})

    @property
    def place(self) -> jax.Array:
        """The position of each row's token after the prefix, [G, R]."""
        return self.prompt_length[:, None] + jnp.maximum(self.age - 1, 0)


class Caches(NamedTuple):
    """The keys and values of a layer: `prompt` and each row's `own` as `Grid` holds them, `prefix` as `Prefix` does."""

    prompt: Pair
    own: Pair
    prefix: Pair | None


class RowAttention(Protocol):
    """One query of each row against everything it may see.

    Args:
      q: [G, R, H, C]; k, v: [G, R, K, C], of the rows' last tokens.
      window: how many positions a row looks back; None is unlimited.

    Returns:
      [G, R, H, C] in q's dtype (garbage for rows of age 0), and `caches.own` with k and v in the rows' slot.
    """

    def __call__(
        self,
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        caches: Caches,
        rows: Rows,
        window: int | None,
        scale: float,
    ) -> tuple[jax.Array, Pair]: ...


def plain(q, k, v, caches, rows, window, scale) -> tuple[jax.Array, Pair]:
    """Attends to all pieces under one softmax, see `attend_pieces`."""
    prompt, own, prefix = caches
    piece: type[Piece | Slots]
    if is_by_slots(own[0]):
        flat = (1, *k.shape[:2], -1)
        keys = _write(own[0], k.reshape(flat), rows.slot, 0, KEY_CHANNELS)
        values = _write(own[1], v.reshape(flat), rows.slot, 0, VALUE_CHANNELS)
        length, piece = keys.shape[0], Slots
    else:
        keys = _write(own[0], by_channel(k[:, :, None]), rows.slot, 4, KEY_CHANNELS)
        values = _write(own[1], by_position(v[:, :, None]), rows.slot, 3, VALUE_CHANNELS)
        length, piece = slots(keys), Piece
    reach = rows.age if window is None else jnp.minimum(rows.age, window)
    ring_age = (rows.slot - jnp.arange(length)) % length  # how many tokens ago each slot was written
    prompt_slot = jnp.arange(slots(prompt[0]))[None, None]
    in_prompt = prompt_slot < rows.prompt_length[:, None, None]
    if window is not None:
        in_prompt = in_prompt & (rows.place[..., None] - prompt_slot < window)
    in_ring = ring_age[None, None] < reach[..., None]
    pieces: list[Piece | Slots] = [Piece(prompt[0], prompt[1], in_prompt), piece(keys, values, in_ring)]
    if prefix is not None:
        position = rows.prefix_length + rows.place
        seen = prefix_mask(slots(prefix[0]), rows.prefix_length, position, window)
        pieces.append(Piece(prefix[0], prefix[1], seen))
    return attend_pieces(q, pieces, scale), (keys, values)


def _write(cache: Stored, new: jax.Array, slot: jax.Array, axis: int, channels: int) -> Any:
    """The cache with one more position, in the form it stores."""
    stored = quantize(new, channels) if isinstance(cache, Int8) else new.astype(cache.dtype)
    update = functools.partial(jax.lax.dynamic_update_slice_in_dim, start_index=slot, axis=axis)
    return jax.tree.map(update, cache, stored)
