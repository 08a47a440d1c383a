"""Attention over one or several pieces of keys, shared by training, prefill and decoding.

A query may attend to several key/value pieces that are stored separately (a shared prefix, its prompt, its own
suffix) under a single softmax. Pieces are never concatenated, so shared keys are never copied.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from t5x_selfprog.model.int8 import Stored, unscaled
from t5x_selfprog.model.products import product

MASKED = -1e30  # finite, so that a fully masked row does not become NaN


def causal_mask(
    query_positions: jax.Array,
    key_positions: jax.Array,
    query_segments: jax.Array,
    key_segments: jax.Array,
    window: jax.Array | int | None,
) -> jax.Array:
    """Which keys each query of a packed row may attend to.

    Args:
      query_positions, query_segments: [B, Lq] int32; segment 0 is padding.
      key_positions, key_segments: [B, Lk] int32.
      window: a query attends to keys fewer than this many positions back; None means no limit. May be traced.

    Returns:
      [B, Lq, Lk] bool.
    """
    back = query_positions[:, :, None] - key_positions[:, None, :]
    seen = (
        (back >= 0)
        & (query_segments[:, :, None] == key_segments[:, None, :])
        & (key_segments[:, None, :] > 0)
    )
    return seen if window is None else seen & (back < window)


def attend(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array, scale: float) -> jax.Array:
    """Softmax attention with grouped key/value heads.

    Args:
      q: [B, Lq, H, C]; k, v: [B, Lk, K, C] with K dividing H; mask: [B, Lq, Lk] bool.

    Returns:
      [B, Lq, H, C] in q's dtype; the softmax is float32.
    """
    b, lq, h, c = q.shape
    kv = k.shape[2]
    grouped = q.reshape(b, lq, kv, h // kv, c) * jnp.asarray(scale, q.dtype)
    scores = product("bqkgc,bskc->bkgqs", grouped, k, "float32")
    weights = jax.nn.softmax(jnp.where(mask[:, None, None], scores, MASKED), axis=-1)
    return product("bkgqs,bskc->bqkgc", weights.astype(v.dtype), v).reshape(b, lq, h, c)


class Piece(NamedTuple):
    """Keys and values that each of the R rows in each of G groups may attend to.

    They are stored in the order in which their products read them (heads outermost, keys by channel, values by
    position), so neither product copies a cache. On a CPU that copy is most of what attention costs a decoding step.

    Attributes:
      k: [G, K, C, S] if the rows of a group share it, [G, K, R, C, S] if each row has its own; G may be 1 for a
        piece that all groups share. May be Int8, with one scale per position and head.
      v: the same with the last two dimensions swapped.
      mask: [G, R, S] bool (G or R may be 1).
    """

    k: Stored
    v: Stored
    mask: jax.Array

    @classmethod
    def of(cls, k: jax.Array, v: jax.Array, mask: jax.Array) -> "Piece":
        """From keys and values as the projections return them, both [G, S, K, C] or both [G, R, S, K, C]."""
        return cls(by_channel(k), by_position(v), mask)


class Slots(NamedTuple):
    """Keys and values private to each row, laid out for a TPU: positions outermost, heads side by side.

    One query per row and key cannot fill a matrix unit. Here the vector unit multiplies all heads of a row in full
    lanes, whatever the head size, and the matrix unit sums within each head. By the TPU compiler's count this takes
    half the time of a `Piece`; on a CPU it takes twelve times as long. It requires one key/value head per query head.

    Attributes:
      k, v: [S, G, R, H*C].
      mask: [G, R, S] bool (G or R may be 1).
    """

    k: jax.Array
    v: jax.Array
    mask: jax.Array


def by_channel(k: jax.Array) -> jax.Array:
    """[G, S, K, C] -> [G, K, C, S], or [G, R, S, K, C] -> [G, K, R, C, S]."""
    return jnp.moveaxis(k, (-2, -3), (1, -1))


def by_position(v: jax.Array) -> jax.Array:
    """[G, S, K, C] -> [G, K, S, C], or [G, R, S, K, C] -> [G, K, R, S, C]."""
    return jnp.moveaxis(v, -2, 1)


def attend_pieces(q: jax.Array, pieces: Sequence[Piece | Slots], scale: float) -> jax.Array:
    """Attends with one query per row to all pieces under one softmax.

    Args:
      q: [G, R, H, C].

    Returns:
      [G, R, H, C] in q's dtype.
    """
    g, r, h, c = q.shape
    kv = jax.tree.leaves(next(piece.k for piece in pieces if isinstance(piece, Piece)))[0].shape[1]
    grouped = (q * jnp.asarray(scale, q.dtype)).reshape(g, r, kv, h // kv, c).swapaxes(1, 2)
    found = (
        _attend_piece(grouped, piece) if isinstance(piece, Piece) else _attend_slots(grouped, piece)
        for piece in pieces
    )
    outs, totals, tops = zip(*found, strict=True)
    # Each piece's softmax is relative to its own maximum: rescale all to the common one (Milakov & Gimelshein 2018).
    top = functools.reduce(jnp.maximum, tops)
    shares = [jnp.exp(t - top) for t in tops]
    total = sum(t * share for t, share in zip(totals, shares, strict=True))
    out = sum(o * share for o, share in zip(outs, shares, strict=True)) / total
    return out.astype(q.dtype).swapaxes(1, 2).reshape(g, r, h, c)


def _attend_piece(q: jax.Array, piece: Piece) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Unnormalised softmax attention over one piece.

    Args:
      q: [G, K, R, H/K, C], scaled.

    Returns:
      The weighted sum of values [G, K, R, H/K, C]; the sum of weights and the maximum they are relative to, both
      [G, K, R, H/K, 1]. All float32.
    """
    g, kv, r, h, c = q.shape
    (k, k_scale), (v, v_scale) = unscaled(piece.k), unscaled(piece.v)
    k, v, mask = k.astype(q.dtype), v.astype(q.dtype), piece.mask[:, None, :, None]
    if k.ndim == 5:  # private to each row: [H/K, C] x [C, S]
        rows, order = q, (0, 1, 2)
    elif k.shape[0] == 1:  # shared by all groups: [G*R*H/K, C] x [C, S]
        rows, order = q.swapaxes(0, 1).reshape(1, kv, g * r * h, c), (1, 0, 2)
        mask = mask.swapaxes(0, 1)
    else:  # shared within a group: [R*H/K, C] x [C, S]
        rows, order = q.reshape(g, kv, r * h, c), (0, 1, 2)
    shape = tuple((g, kv, r)[i] for i in order) + (h, -1)

    def by_key(scale: jax.Array) -> jax.Array:
        """A scale in the layout of the scores: [G, K, (R,) 1, S] in their order."""
        return scale if k.ndim == 5 else jnp.expand_dims(scale.transpose(*order[:2], 2, 3), 2)

    scores = _matmul(rows, k).reshape(shape)
    if k_scale is not None:
        scores = scores * by_key(k_scale)
    scores = jnp.where(mask, scores, MASKED)
    top = jnp.max(scores, axis=-1, keepdims=True)
    weights = jnp.exp(scores - top)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    if v_scale is not None:
        weights = weights * by_key(v_scale.swapaxes(-1, -2))
    weights = weights.astype(q.dtype).reshape(*rows.shape[:-1], -1)
    out = _matmul(weights, v).reshape(shape)
    return tuple(x.transpose(*order, 3, 4) for x in (out, total, top))  # type: ignore[return-value]


def _matmul(rows: jax.Array, matrix: jax.Array) -> jax.Array:
    """[..., n, a] x [..., a, b] -> [..., n, b] float32."""

    def plainly(rows: jax.Array, matrix: jax.Array) -> jax.Array:
        return jnp.matmul(rows, matrix, preferred_element_type=jnp.float32)

    def with_a_second_row(rows: jax.Array, matrix: jax.Array) -> jax.Array:
        """XLA's GPU compiler turns a one-row product into a sum and, for that, transposes the cache twice per chunk."""
        twice = jnp.broadcast_to(rows, (*rows.shape[:-2], 2, rows.shape[-1]))
        return plainly(twice, matrix)[..., :1, :]

    if rows.shape[-2] != 1:
        return plainly(rows, matrix)
    return jax.lax.platform_dependent(
        rows, matrix, cuda=with_a_second_row, rocm=with_a_second_row, default=plainly
    )


def _attend_slots(q: jax.Array, piece: Slots) -> tuple[jax.Array, jax.Array, jax.Array]:
    """As `_attend_piece`, for H/K = 1."""
    g, kv, r, _, c = q.shape
    rows = q.transpose(3, 0, 2, 1, 4).reshape(1, g, r, kv * c)
    head = jax.nn.one_hot(jnp.arange(kv * c) // c, kv, dtype=q.dtype)  # the head of each channel, [H*C, H]
    scores = jnp.matmul(piece.k.astype(q.dtype) * rows, head, preferred_element_type=jnp.float32)
    scores = jnp.where(jnp.moveaxis(piece.mask, -1, 0)[..., None], scores, MASKED)  # [S, G, R, H]
    top = jnp.max(scores, axis=0, keepdims=True)
    weights = jnp.exp(scores - top)
    total = jnp.sum(weights, axis=0)
    wide = jnp.matmul(weights.astype(q.dtype), head.T, preferred_element_type=q.dtype)
    out = jnp.sum(wide.astype(jnp.float32) * piece.v.astype(jnp.float32), axis=0).reshape(g, r, kv, c)
    return tuple(x.swapaxes(1, 2)[:, :, :, None] for x in (out, total[..., None], top[0, ..., None]))  # type: ignore[return-value]
