"""Matrix products in the compute dtype, accumulated in float32 and rounded once, in the forward and backward pass.

Every matrix unit works this way (TPU, tensor cores, AVX-512 BF16), but only on request: a bfloat16 product with a
bfloat16 result leaves XLA's fast path on a CPU (80 against 350 GFLOP/s on two cores); one with a float32 result costs a
GPU an extra write and read of the result, and its automatic derivative multiplies in float32.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from t5x_selfprog.model.int8 import Stored, unscaled
from t5x_selfprog.model.low_rank import LowRank, in_width_of

PROJECTION = "projection"  # the checkpoint name of every projection's result, for rematerialisation policies


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def product(spec: str, a: jax.Array, b: jax.Array, dtype: str | None = None) -> jax.Array:
    """`jnp.einsum(spec, a, b)` of two arrays without repeated, broadcast or summed-away letters.

    Args:
      a: its dtype is the compute dtype; b is rounded to it.
      dtype: the dtype of the result; None means a's.

    Returns:
      The product. Gradients have the dtype of their argument; a float32 weight's gradient is not rounded.
    """
    return _rounded_once(spec, a, b.astype(a.dtype), dtype or a.dtype)


def _forward(spec, a, b, dtype):
    return product(spec, a, b, dtype), (a, b)


def _backward(spec, dtype, saved, g):
    a, b = saved
    inputs, out = spec.split("->")
    left, right = inputs.split(",")
    g = g.astype(a.dtype)
    return (
        _rounded_once(f"{out},{right}->{left}", g, b.astype(a.dtype), a.dtype),
        _rounded_once(f"{left},{out}->{right}", a, g, b.dtype),
    )


product.defvjp(_forward, _backward)


def _rounded_once(spec: str, a: jax.Array, b: jax.Array, dtype: Any) -> jax.Array:
    """The einsum, accumulated in float32 and then rounded to `dtype`."""

    def by_result(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.einsum(spec, a, b, preferred_element_type=dtype)

    def by_sums(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.einsum(spec, a, b, preferred_element_type=jnp.float32).astype(dtype)

    if jnp.dtype(dtype) == jnp.float32:
        return by_sums(a, b)
    return jax.lax.platform_dependent(a, b, cuda=by_result, rocm=by_result, default=by_sums)


def project(x: jax.Array, kernel: Stored | LowRank, contracted: int) -> jax.Array:
    """x: [..., *inputs], kernel: [*inputs, *outputs] with `contracted` inputs -> [..., *outputs] in x's dtype."""
    if isinstance(kernel, LowRank):
        added = project(project(x, kernel.a, contracted), kernel.b, 1)
        return project(x, in_width_of(kernel.kernel, x), contracted) + added
    kernel, scale = unscaled(kernel)
    letters = "abcdefghijkl"
    before = letters[: x.ndim - contracted]
    inputs = letters[len(before) : x.ndim]
    outputs = letters[x.ndim : x.ndim + kernel.ndim - contracted]
    spec = f"{before}{inputs},{inputs}{outputs}->{before}{outputs}"
    if scale is None:
        return checkpoint_name(product(spec, x, kernel), PROJECTION)
    sums = product(spec, x, kernel, "float32")
    return (sums * scale.reshape((1,) * len(before) + sums.shape[len(before) :])).astype(x.dtype)
