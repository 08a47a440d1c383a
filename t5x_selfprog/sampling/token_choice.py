"""From logits to one token per row: temperature, top-k, top-p, by inverting the cumulative distribution.

This needs one uniform number per row and step, not a Gumbel number per token of the vocabulary: cheap on a CPU, and the
choice depends only on that number and the row's own logits.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp

from verifier.errors import UserError


@dataclasses.dataclass(frozen=True)
class TokenChoice:
    """How a token is chosen; a function of logits and uniforms.

    Attributes:
      temperature: divides the logits; 0 takes the likeliest token.
      top_k: keeps the k likeliest tokens (and any that tie with the last of them); 0 keeps all.
      top_p: keeps the likeliest tokens until their mass reaches this (ties included; Holtzman et al. 2020).
        Applied to what top_k kept.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self):
        if not 0.0 <= self.temperature < math.inf:
            raise UserError(f"temperature={self.temperature}: must be zero or a positive number.")
        if self.top_k < 0:
            raise UserError(f"top_k={self.top_k}: must be zero (off) or a positive count of tokens.")
        if not 0.0 < self.top_p <= 1.0:
            raise UserError(f"top_p={self.top_p}: must be above 0 and at most 1 (off).")

    def __call__(self, logits: jax.Array, uniform: jax.Array) -> jax.Array:
        """logits: [..., V] float32; uniform: [...] float32 in [0, 1) -> tokens [...] int32."""
        if self.temperature == 0.0:
            return jnp.argmax(logits, axis=-1).astype(jnp.int32)
        top = jnp.max(logits, axis=-1, keepdims=True)
        weights = jnp.exp((logits - top) / self.temperature)
        if 0 < self.top_k < logits.shape[-1]:
            weights = self._likeliest(weights)
        elif self.top_p < 1.0:
            needed = self.top_p * jnp.sum(weights, axis=-1, keepdims=True)
            weights = jnp.where(weights >= heaviest_threshold(weights, needed), weights, 0.0)
        return invert_cumulative(weights, uniform)

    def _likeliest(self, weights: jax.Array) -> jax.Array:
        """Zeroes all but the top_k weights, and among these all but top_p's share."""
        best, _ = jax.lax.top_k(weights, self.top_k)
        threshold = best[..., -1:]
        if self.top_p < 1.0:
            mass = jnp.cumsum(best, axis=-1)
            short = jnp.sum(mass < self.top_p * mass[..., -1:], axis=-1, keepdims=True)
            threshold = jnp.take_along_axis(best, jnp.minimum(short, self.top_k - 1), axis=-1)
        return jnp.where(weights >= threshold, weights, 0.0)


def heaviest_threshold(weights: jax.Array, needed: jax.Array) -> jax.Array:
    """The largest weight w such that all weights of at least w sum to at least `needed`.

    Searches the bit patterns of float32, which sort as the numbers do, a few bits per pass over the vocabulary. It is
    exact; sorting a [128, 4096] array would take a CPU 100 ms. A CPU is bound by additions and finds one bit per pass
    (30 passes); a GPU or TPU is bound by reads and finds four, with 15 thresholds at once (8 passes).

    Args:
      weights: [..., V] float32 in [0, 1]; needed: [..., 1], at most the sum.

    Returns:
      [..., 1] float32.
    """
    by_bits = lambda n, **loop: functools.partial(_search_threshold, bits_a_pass=n, **loop)  # noqa: E731
    return jax.lax.platform_dependent(weights, needed, cpu=by_bits(1), default=by_bits(4, unroll=True))


def _search_threshold(
    weights: jax.Array, needed: jax.Array, bits_a_pass: int, unroll: bool = False
) -> jax.Array:
    """`heaviest_threshold`; numbers in [0, 1] differ in 30 bits."""
    bits = jax.lax.bitcast_convert_type(weights, jnp.uint32)
    passes = -(-30 // bits_a_pass)

    def find_digit(i: int | jax.Array, known: jax.Array) -> jax.Array:
        shift = jnp.uint32(bits_a_pass) * (passes - 1 - jnp.asarray(i)).astype(jnp.uint32)
        thresholds = [known + (jnp.uint32(digit) << shift) for digit in range(1, 1 << bits_a_pass)]
        kept = tuple(jnp.where(bits >= threshold, weights, 0.0) for threshold in thresholds)
        low = known  # known to keep enough mass
        for threshold, mass in zip(thresholds, _sums(kept), strict=True):
            low = jnp.where(mass >= needed, threshold, low)
        return low

    low = jax.lax.fori_loop(0, passes, find_digit, jnp.zeros(needed.shape, jnp.uint32), unroll=unroll or None)
    return jax.lax.bitcast_convert_type(low, jnp.float32)


def _sums(arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Sums each array along its last axis, which is kept; one reduction, so that a GPU reads their source once."""

    def add(some: tuple[jax.Array, ...], more: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        return tuple(x + y for x, y in zip(some, more, strict=True))

    zeros = tuple(jnp.zeros((), x.dtype) for x in arrays)
    return tuple(x[..., None] for x in jax.lax.reduce(arrays, zeros, add, (arrays[0].ndim - 1,)))


def invert_cumulative(weights: jax.Array, uniform: jax.Array) -> jax.Array:
    """The first index at which the running sum of weights exceeds `uniform` times their total.

    Works on two levels of about sqrt(V) each, because a running sum over the whole vocabulary costs a CPU ten times as
    much as the softmax. A token of weight zero is never chosen, whatever the rounding.

    Args:
      weights: [..., V] float32, not negative, with a positive sum; uniform: [...] float32 in [0, 1).

    Returns:
      [...] int32.
    """
    blocks = _in_blocks(weights)
    width = blocks.shape[-1]
    sums = jnp.cumsum(jnp.sum(blocks, axis=-1), axis=-1)
    block, before = _first_above(sums, uniform * sums[..., -1])
    inner = jnp.take_along_axis(blocks, block[..., None, None], axis=-2)[..., 0, :]
    token, _ = _first_above(jnp.cumsum(inner, axis=-1), uniform * sums[..., -1] - before)
    return (block * width + token).astype(jnp.int32)


def log_sum_exp(logits: jax.Array) -> jax.Array:
    """Over the last axis, in the blocks of `invert_cumulative`: a GPU then reads the logits once for both."""
    top = jnp.max(logits, axis=-1, keepdims=True)
    sums = jnp.sum(_in_blocks(jnp.exp(logits - top)), axis=-1)
    return top[..., 0] + jnp.log(jnp.sum(sums, axis=-1))


def _in_blocks(weights: jax.Array) -> jax.Array:
    """[..., V] -> [..., about sqrt(V), about sqrt(V)], padded with zeros."""
    size = weights.shape[-1]
    width = 2 ** math.ceil(math.log2(max(size, 2)) / 2)
    count = -(-size // width)
    padding = [(0, 0)] * (weights.ndim - 1) + [(0, count * width - size)]
    return jnp.pad(weights, padding).reshape(*weights.shape[:-1], count, width)


def _first_above(sums: jax.Array, target: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first index whose running sum exceeds the target, and the sum before it; sums: [..., n].

    If rounding pushes the target to the total or past it, this is the last index that adds anything.
    """
    below = jnp.nextafter(sums[..., -1], jnp.zeros_like(sums[..., -1]))
    index = jnp.sum(sums <= jnp.minimum(target, below)[..., None], axis=-1).astype(jnp.int32)
    previous = jnp.take_along_axis(sums, jnp.maximum(index - 1, 0)[..., None], axis=-1)[..., 0]
    return index, jnp.where(index > 0, previous, 0.0)
