"""Causal self-attention of packed rows for training: one definition, three implementations.

All take the same arguments and agree wherever a row holds a token (at padding the result is arbitrary):
  plain    any machine and dtype; the reference
  splash   TPU: a Pallas kernel whose scores never leave the chip; fully masked blocks are skipped
  cudnn    NVIDIA GPU, bfloat16: cuDNN's flash attention behind jax.nn.dot_product_attention
"""

import functools
import math
from typing import Protocol

import jax
import jax.numpy as jnp

from t5x_selfprog import partitioning
from t5x_selfprog.model.attention import attend, causal_mask
from verifier.errors import UserError

QUERY_BLOCK = 128  # scores of this many queries fit a CPU's cache; the TPU kernel needs multiples of it


class PackedAttention(Protocol):
    """q: [B, L, H, C]; k, v: [B, L, K, C]; positions, segment_ids: [B, L] int32 -> [B, L, H, C].

    The tokens of a segment are contiguous and in order, so `window` (how many positions a query attends to, itself
    included; None means no limit) may be applied by index.
    """

    def __call__(
        self,
        q: jax.Array,
        k: jax.Array,
        v: jax.Array,
        positions: jax.Array,
        segment_ids: jax.Array,
        window: int | None,
        scale: float,
    ) -> jax.Array: ...


def plain(q, k, v, positions, segment_ids, window, scale, block: int = QUERY_BLOCK) -> jax.Array:
    """Attends block by block: each block of queries to the keys from its window's start to its own end.

    This skips half of the arithmetic. The backward pass recomputes scores, which would otherwise take up most of the
    memory of a step.
    """
    out = []
    for start in range(0, q.shape[1], block):
        end = min(start + block, q.shape[1])
        first = 0 if window is None else max(0, start - window + 1)
        queries, keys = slice(start, end), slice(first, end)

        def attend_block(q, k, v, queries=queries, keys=keys):
            mask = causal_mask(
                positions[:, queries],
                positions[:, keys],
                segment_ids[:, queries],
                segment_ids[:, keys],
                window,
            )
            return attend(q, k, v, mask, scale)

        out.append(jax.checkpoint(attend_block)(q[:, queries], k[:, keys], v[:, keys]))
    return out[0] if len(out) == 1 else jnp.concatenate(out, axis=1)


def cudnn(q, k, v, positions, segment_ids, window, scale) -> jax.Array:
    """Raises UserError where cuDNN has no kernel for the dtype."""
    if q.dtype not in (jnp.bfloat16, jnp.float16):
        raise UserError(
            f"attention='cudnn' computes in bfloat16, not {q.dtype}: set ModelConfig.dtype='bfloat16' or "
            "LoopConfig.attention='plain'."
        )
    del positions  # the window is applied by index
    same = (segment_ids[:, :, None] == segment_ids[:, None, :])[:, None]
    span = None if window is None else (window - 1, 0)
    return jax.nn.dot_product_attention(
        q, k, v, mask=same, scale=scale, is_causal=True, local_window_size=span, implementation="cudnn"
    )


def splash(q, k, v, positions, segment_ids, window, scale, interpret: bool = False) -> jax.Array:
    """Under a mesh, each device computes its own rows and heads.

    Args:
      interpret: runs the kernel as plain JAX (slow).

    Raises UserError where the kernel has no block size for the length, or heads do not divide among the devices.
    """
    length = q.shape[1]
    if length % QUERY_BLOCK:
        raise UserError(
            f"attention='splash' needs a row length that is a multiple of {QUERY_BLOCK}, not {length}: change the "
            "length or set LoopConfig.attention='plain'."
        )
    del positions  # the window is applied by index
    q = q * jnp.asarray(scale, q.dtype)
    partitioner = partitioning.current()
    require_whole_heads(partitioner, q.shape[2], k.shape[2])
    local = functools.partial(_splash_rows, window=window, interpret=interpret)
    if partitioner is None or partitioner.mesh.size == 1:
        return local(q, k, v, segment_ids)
    heads, kv, rows = (
        partitioner.spec(axes, activation=True)
        for axes in (
            ("batch", "length", "heads", "head"),
            ("batch", "length", "kv", "head"),
            ("batch", "length"),
        )
    )
    sharded = jax.shard_map(
        local, mesh=partitioner.mesh, in_specs=(heads, kv, kv, rows), out_specs=heads, check_vma=False
    )
    return sharded(q, k, v, segment_ids)


def _splash_rows(q, k, v, segment_ids, *, window: int | None, interpret: bool) -> jax.Array:
    """One device's share: q [B, L, H, C], scaled; k, v [B, L, K, C]; segment_ids [B, L]."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    length, heads = q.shape[1:3]
    shape = (length, length)
    mask = masks.CausalMask(shape) if window is None else masks.LocalMask(shape, (window - 1, 0), 0)
    block = next(size for size in (512, 256, QUERY_BLOCK) if length % size == 0)
    kernel = kernels.make_splash_mha(
        masks.MultiHeadMask([mask] * heads),
        block_sizes=kernels.BlockSizes(*(block,) * 6, block_q_dq=block, block_kv_dq=block),
        head_shards=1,
        q_seq_shards=1,
        interpret=interpret,
    )

    def one_row(q, k, v, segments):
        return kernel(q, k, v, kernels.SegmentIds(segments, segments))

    out = jax.vmap(one_row)(q.swapaxes(1, 2), k.swapaxes(1, 2), v.swapaxes(1, 2), segment_ids)
    return out.swapaxes(1, 2)


def require_whole_heads(partitioner: partitioning.Partitioner | None, heads: int, kv_heads: int) -> None:
    """Raises UserError where a kernel that computes each device's own heads would get parts of one."""
    if partitioner is None:
        return
    for words, axis, count in (("heads", "heads", heads), ("heads of keys and values", "kv", kv_heads)):
        ways = math.prod(partitioner.mesh.shape[name] for name in partitioner.rules[axis])
        if count % ways:
            fitting = [
                n for n in range(1, ways) if not (heads % n or kv_heads % n or partitioner.mesh.size % n)
            ]
            raise UserError(
                f"MeshConfig.tensor={ways} does not divide the model's {count} {words}, which "
                f"LoopConfig.attention='splash' needs: choose one of {', '.join(map(str, fitting))} with more fsdp, "
                "or set LoopConfig.attention='plain'."
            )


KERNELS: dict[str, PackedAttention] = {"plain": plain, "splash": splash, "cudnn": cudnn}
