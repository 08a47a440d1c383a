"""Arrays in int8 with one scale for each run of numbers: a quarter of float32's memory, read by matrix products."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Int8(NamedTuple):
    """values * scale is the array.

    values: int8, the array's shape.
    scale: float32, the same with the quantised axes of size 1, so that both are cut, moved and written alike.
    """

    values: Any  # arrays, or their shardings
    scale: Any


Stored = jax.Array | Int8


def quantize(x: jax.Array, axes: int | tuple[int, ...]) -> Int8:
    """Symmetric, to the nearest: off by at most half a scale, which is 1/127 of the largest along `axes`."""
    x = x.astype(jnp.float32)
    scale = jnp.max(jnp.abs(x), axis=axes, keepdims=True) / 127.0
    values = jnp.round(x / jnp.maximum(scale, jnp.finfo(jnp.float32).tiny))
    return Int8(values.astype(jnp.int8), scale)


def unscaled(x: Stored) -> tuple[jax.Array, jax.Array | None]:
    """What a product reads, and the scale that its result is still to be multiplied by; None: by nothing.

    int8 is exact in bfloat16, so that a product reads one byte a number and is rounded once.
    """
    return (x.values, x.scale) if isinstance(x, Int8) else (x, None)


def store(x: jax.Array, dtype: str, axes: int | tuple[int, ...]) -> Stored:
    """x as `dtype` keeps it; only "int8" uses the axes."""
    return quantize(x, axes) if dtype == "int8" else x.astype(dtype)


def empty(shape: tuple[int, ...], dtype: str, axis: int) -> Stored:
    """Zeros as `dtype` keeps them."""
    if dtype != "int8":
        return jnp.zeros(shape, dtype)
    narrow = list(shape)
    narrow[axis] = 1
    return Int8(jnp.zeros(shape, jnp.int8), jnp.zeros(narrow, jnp.float32))
