"""`row_attention` on NVIDIA GPUs as two Pallas-Triton kernels per layer, where the plain way takes a dozen.

  shared   tiles of a group's queries against prefix and prompt, on tensor cores, split along the keys
  own      for one row and key/value head: combines the results of `shared`, the filled part of the row's own ring, and
           the new key and value, which it also writes

Scores never leave the chip, nothing beyond a prompt's length or a row's age is read, and queries, keys and results keep
the layout of the projections before and after them. Softmax with running maxima (Milakov & Gimelshein 2018; Dao et al.
2022), split along the keys as in Flash-Decoding (Dao et al. 2023).
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton

from t5x_selfprog.model.attention import MASKED
from t5x_selfprog.sampling.row_attention import Caches, Pair, Rows
from verifier.errors import UserError

TILE, BLOCK = 64, 64  # at most this many queries per program, and keys per pass
PROGRAMS = 264  # two per multiprocessor of an H100 or H200: keys are split until there are this many
LEAST = 16  # the fewest rows of a tensor core's product


def triton_attention(
    q, k, v, caches: Caches, rows, window, scale, interpret: bool = False
) -> tuple[jax.Array, Pair]:
    """See `row_attention.RowAttention`. interpret: run the kernels as plain JAX (slow), on any machine.

    Raises UserError if the caches' dtype is not the activations' (int8, say) or a head's size is not a power of 2.
    """
    _check(q, caches.own)
    q = q * jnp.asarray(scale, q.dtype)
    shared = _attend_shared(q, caches.prompt, caches.prefix, rows, window, interpret)
    return _attend_own(q, k, v, caches.own, shared, rows, window, interpret)


def _check(q: jax.Array, own: Pair) -> None:
    dtype = getattr(own[0], "dtype", "int8")
    if dtype != q.dtype:
        raise UserError(
            f"SamplingConfig.attention='triton' reads caches of the weights' dtype, {q.dtype}, not {dtype}: set "
            "cache_dtype to the same as weights_dtype, or attention='plain'."
        )
    size = q.shape[-1]
    if size < LEAST or size & (size - 1):
        raise UserError(
            f"SamplingConfig.attention='triton' wants heads of a power of 2 of at least {LEAST} channels, not "
            f"{size}: set attention='plain'."
        )


def _softmax_over(scores, seen, top, total):
    """Adds a block of scores [M, S] to a running softmax: (weights, new maximum, new sum, the old sum's factor)."""
    scores = jnp.where(seen, scores, MASKED)
    new = jnp.maximum(top, jnp.max(scores, axis=1))
    weights = jnp.where(seen, jnp.exp(scores - new[:, None]), 0.0)
    kept = jnp.exp(top - new)
    return weights, new, total * kept + jnp.sum(weights, axis=1), kept


def _whole(x) -> pl.BlockSpec:
    """The whole array, for every program."""
    return pl.BlockSpec(x.shape, lambda *_: (0,) * len(x.shape))


def _channels(rows: int, size: int) -> jax.Array:
    """The last index of `rows` rows of `size` channels, [rows, size]."""
    return jnp.broadcast_to(jnp.arange(size)[None], (rows, size))


def _dot(a, b):
    """[M, n] x [n, N] float32; float32 operands are not rounded to TF32."""
    precision = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
    return jnp.dot(a, b, precision=precision, preferred_element_type=jnp.float32)


# ---- prefix and prompt ---------------------------------------------------------------------------------------------


def _attend_shared(q, prompt: Pair, prefix: Pair | None, rows: Rows, window, interpret: bool):
    """The unnormalised softmax over prefix and prompt, in J parts.

    Returns:
      Sums of values [J, G, R, H, C], sums of weights and the maxima they are relative to [J, G, R, H], all float32.
    """
    (groups, count, heads, size), kv = q.shape, prompt[0].shape[1]
    queries = count * heads // kv  # per group and key/value head
    tile = min(TILE, max(LEAST, pl.next_power_of_2(queries)))
    tiles = pl.cdiv(queries, tile)
    parts = 1
    longest = max(prompt[0].shape[-1], 0 if prefix is None else prefix[0].shape[-1])
    while groups * kv * tiles * parts < PROGRAMS and longest // (2 * parts) >= BLOCK:
        parts *= 2
    place = jnp.broadcast_to(rows.place, (groups, count))

    def by_head(x: jax.Array) -> pl.BlockSpec:
        """A group's keys or values of one head; those that all groups share are stored once."""
        once = x.shape[0] == 1
        return pl.BlockSpec((None, None, *x.shape[2:]), lambda a, *_: (0 if once else a // kv, a % kv, 0, 0))

    pieces = [*(prefix or ()), *prompt]
    sums = jax.ShapeDtypeStruct((parts, groups, count, heads), jnp.float32)
    out_shape = (jax.ShapeDtypeStruct((*sums.shape, size), jnp.float32), sums, sums)
    return pl.pallas_call(
        functools.partial(_shared_kernel, kv=kv, tile=tile, parts=parts, window=window),
        grid=(groups * kv, tiles, parts),
        in_specs=[_whole(rows.prompt_length), _whole(place), _whole(q), *map(by_head, pieces)],
        out_specs=tuple(map(_whole, out_shape)),
        out_shape=out_shape,
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=4, num_stages=3),
        name="shared_attention",
    )(rows.prompt_length, place, q, *pieces)


def _shared_kernel(length_ref, place_ref, q_ref, *refs, kv: int, tile: int, parts: int, window: int | None):
    *pieces, out_ref, total_ref, top_ref = refs
    group, head, part = pl.program_id(0) // kv, pl.program_id(0) % kv, pl.program_id(2)
    _, count, heads, size = q_ref.shape
    together = heads // kv  # query heads that share keys
    number = pl.program_id(1) * tile + jnp.arange(tile)
    real = number < count * together
    row, column = jnp.minimum(number // together, count - 1), head * together + number % together
    channels = _channels(tile, size)
    q = q_ref[group, row[:, None], column[:, None], channels]  # [tile, C]
    place = place_ref[group, row]  # [tile]

    def over(k_ref, v_ref, filled, first, carry):
        """Keys [C, S] and values [S, C], `filled` of them real, from position `first` after the prefix."""
        slots = k_ref.shape[-1]
        block = min(BLOCK, max(LEAST, pl.next_power_of_2(slots)))
        blocks = pl.cdiv(filled, block)
        share = pl.cdiv(blocks, parts)

        def one(i, carry):
            out, total, top = carry
            at = pl.ds(i * block, block)
            slot = i * block + jnp.arange(block)
            there = slot < filled
            k = triton.load(k_ref.at[:, at], mask=(slot < slots)[None], other=0.0)
            v = triton.load(v_ref.at[at, :], mask=there[:, None], other=0.0)
            seen = there[None] & real[:, None]
            if window is not None:
                seen = seen & (place[:, None] - (first + slot)[None] < window)
            weights, top, total, kept = _softmax_over(_dot(q, k), seen, top, total)
            return out * kept[:, None] + _dot(weights.astype(v.dtype), v), total, top

        return jax.lax.fori_loop(part * share, jnp.minimum((part + 1) * share, blocks), one, carry)

    carry = (
        jnp.zeros((tile, size), jnp.float32),
        jnp.zeros(tile, jnp.float32),
        jnp.full(tile, MASKED, jnp.float32),
    )
    if len(pieces) == 4:
        slots = pieces[0].shape[-1]
        carry = over(pieces[0], pieces[1], jnp.int32(slots), -slots, carry)
    out, total, top = over(pieces[-2], pieces[-1], length_ref[group], 0, carry)
    row = number // together  # the lanes of a masked store must not collide
    cells = (part, group, row[:, None], column[:, None], channels)
    triton.store(out_ref.at[cells], out, mask=jnp.broadcast_to(real[:, None], out.shape))
    triton.store(total_ref.at[part, group, row, column], total, mask=real)
    triton.store(top_ref.at[part, group, row, column], top, mask=real)


# ---- a row's own ---------------------------------------------------------------------------------------------------


def _attend_own(q, k, v, own: Pair, shared, rows: Rows, window, interpret: bool) -> tuple[jax.Array, Pair]:
    (groups, count), kv = q.shape[:2], k.shape[2]
    reach = rows.age if window is None else jnp.minimum(rows.age, window)

    def cache(x: jax.Array) -> pl.BlockSpec:
        return pl.BlockSpec((None, None, None, *x.shape[3:]), lambda a, r: (a // kv, a % kv, r, 0, 0))

    arguments = (rows.slot.reshape(1), reach, q, k, v, *shared)
    out, keys, values = pl.pallas_call(
        functools.partial(_own_kernel, kv=kv),
        grid=(groups * kv, count),
        in_specs=[*map(_whole, arguments), *map(cache, own)],
        out_specs=(_whole(q), *map(cache, own)),
        out_shape=tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in (q, *own)),
        input_output_aliases={len(arguments): 1, len(arguments) + 1: 2},
        interpret=interpret,
        compiler_params=triton.CompilerParams(num_warps=2 if q.shape[-1] <= 64 else 4, num_stages=2),
        name="own_attention",
    )(*arguments, *own)
    return out, (keys, values)


def _own_kernel(
    slot_ref, reach_ref, q_ref, k_ref, v_ref, sums_ref, totals_ref, tops_ref, keys_ref, values_ref,
    out_ref, new_keys_ref, new_values_ref, *, kv: int,
):  # fmt: skip
    group, head, row = pl.program_id(0) // kv, pl.program_id(0) % kv, pl.program_id(1)
    slot, reach = slot_ref[0], reach_ref[group, row]
    together, length = q_ref.shape[2] // kv, keys_ref.shape[-1]
    padded = 1 if together == 1 else max(LEAST, pl.next_power_of_2(together))
    number = jnp.arange(padded)
    real, column = number < together, head * together + jnp.minimum(number, together - 1)
    q = q_ref[group, row, column, :]  # [M, C]
    k, v = k_ref[group, row, head, :], v_ref[group, row, head, :]  # [C]
    new_keys_ref[:, slot] = k
    new_values_ref[slot, :] = v

    # The results over prefix and prompt, and the new token itself, unless the row has none.
    top = jnp.where(reach > 0, _scores(q, k[:, None])[:, 0], MASKED)
    for part in range(sums_ref.shape[0]):
        top = jnp.maximum(top, tops_ref[part, group, row, column])
    mine = jnp.where(reach > 0, jnp.exp(_scores(q, k[:, None])[:, 0] - top), 0.0)
    out, total = mine[:, None] * v.astype(jnp.float32)[None], mine
    for part in range(sums_ref.shape[0]):
        kept = jnp.exp(tops_ref[part, group, row, column] - top)
        out += kept[:, None] * sums_ref[part, group, row, column, :]
        total += kept * totals_ref[part, group, row, column]

    block = min(BLOCK, max(LEAST, pl.next_power_of_2(length)))
    blocks = pl.cdiv(length, block)
    # Go backwards around the ring, starting with the block being written; the last block may be short.
    needed = pl.cdiv(jnp.maximum(reach - 1 - slot % block, 0), block) + (1 if length % block == 0 else 2)

    def one(i, carry):
        out, total, top = carry
        start = ((slot // block - i + blocks) % blocks) * block
        at = pl.ds(start, block)
        index = start + jnp.arange(block)
        ago = (slot - index + length) % length
        seen = (index < length) & (ago > 0) & (ago < reach)
        keys = triton.load(keys_ref.at[:, at], mask=seen[None], other=0.0)
        values = triton.load(values_ref.at[at, :], mask=seen[:, None], other=0.0)
        weights, top, total, kept = _softmax_over(_scores(q, keys), seen[None], top, total)
        return out * kept[:, None] + _mixed(weights.astype(values.dtype), values), total, top

    out, total, _ = jax.lax.fori_loop(0, jnp.minimum(needed, blocks), one, (out, total, top))
    out = out / jnp.where(total > 0, total, 1.0)[:, None]  # a row of age 0 may see nothing
    # The lanes of a masked store must not collide.
    cells = (group, row, (head * together + number)[:, None], _channels(*out.shape))
    triton.store(
        out_ref.at[cells], out.astype(out_ref.dtype), mask=jnp.broadcast_to(real[:, None], out.shape)
    )


def _scores(q, keys):
    """[M, C] x [C, S] float32. A single query does not use the tensor cores."""
    if q.shape[0] > 1 and keys.shape[1] >= LEAST:
        return _dot(q, keys)
    product = q.astype(jnp.float32)[:, :, None] * keys.astype(jnp.float32)[None]
    return jnp.sum(product, axis=1)


def _mixed(weights, values):
    """[M, S] x [S, C] float32."""
    if weights.shape[0] > 1:
        return _dot(weights, values)
    product = weights.astype(jnp.float32)[:, :, None] * values.astype(jnp.float32)[None]
    return jnp.sum(product, axis=1)
