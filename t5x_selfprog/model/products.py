"""Matrix products in the compute dtype, summed in float32 and rounded once, in the forward and backward pass.

Every matrix unit works this way (TPU, tensor cores, AVX-512 BF16), but only if it is asked to: a bfloat16 product
with a bfloat16 result leaves XLA's fast path on a CPU (80 against 350 GFLOP/s on two cores), and automatic
differentiation of one with a float32 result multiplies in float32.
"""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

PROJECTION = "projection"  # the name of every projection's result, for policies of what to keep


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 3))
def product(spec: str, a: jax.Array, b: jax.Array, dtype: str | None = None) -> jax.Array:
    """`jnp.einsum(spec, a, b)` of two arrays without repeated, broadcast or summed-away letters.

    Args:
      a: its dtype is what is multiplied in; b is rounded to it.
      dtype: of the result; None is a's.

    Returns:
      The product; its gradient comes in each argument's own dtype, a float32 weight's without being rounded.
    """
    sums = jnp.einsum(spec, a, b.astype(a.dtype), preferred_element_type=jnp.float32)
    return sums.astype(dtype or a.dtype)


def _forward(spec, a, b, dtype):
    return product(spec, a, b, dtype), (a, b)


def _backward(spec, dtype, saved, g):
    a, b = saved
    inputs, out = spec.split("->")
    left, right = inputs.split(",")
    g = g.astype(a.dtype)
    towards = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)
    return (
        towards(f"{out},{right}->{left}", g, b.astype(a.dtype)).astype(a.dtype),
        towards(f"{left},{out}->{right}", a, g).astype(b.dtype),
    )


product.defvjp(_forward, _backward)


def project(x: jax.Array, kernel: jax.Array, contracted: int) -> jax.Array:
    """x: [..., *inputs], kernel: [*inputs, *outputs] with `contracted` inputs -> [..., *outputs] in x's dtype."""
    letters = "abcdefghijkl"
    before = letters[: x.ndim - contracted]
    inputs = letters[len(before) : x.ndim]
    outputs = letters[x.ndim : x.ndim + kernel.ndim - contracted]
    y = product(f"{before}{inputs},{inputs}{outputs}->{before}{outputs}", x, kernel)
    return checkpoint_name(y, PROJECTION)
