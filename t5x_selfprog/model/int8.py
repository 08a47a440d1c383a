"""Arrays quantised to int8 with one scale per group of numbers: a quarter of float32's memory and bandwidth."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Int8(NamedTuple):
    """A quantised array, values * scale.

    Attributes:
      values: int8, the array's shape.
      scale: float32, the same shape with the quantised axes of size 1, so that both are sliced and sharded alike.
    """

    values: Any  # arrays, or their shardings
    scale: Any


Stored = jax.Array | Int8


def quantize(x: jax.Array, axes: int | tuple[int, ...]) -> Int8:
    """Symmetric rounding to nearest; the error is at most half a scale, which is max |x| along `axes` over 127."""
    x = x.astype(jnp.float32)
    scale = jnp.max(jnp.abs(x), axis=axes, keepdims=True) / 127.0
    values = jnp.round(x / jnp.maximum(scale, jnp.finfo(jnp.float32).tiny))
    return Int8(values.astype(jnp.int8), scale)


def unscaled(x: Stored) -> tuple[jax.Array, jax.Array | None]:
    """The array that a product reads, and the scale by which its result must be multiplied (None: no scale).

    int8 values are exact in bfloat16, so a product reads one byte per number and rounds once.
    """
    return (x.values, x.scale) if isinstance(x, Int8) else (x, None)


def store(x: jax.Array, dtype: str, axes: int | tuple[int, ...]) -> Stored:
    """x stored as `dtype`; only "int8" uses the axes."""
    return quantize(x, axes) if dtype == "int8" else x.astype(dtype)


def empty(shape: tuple[int, ...], dtype: str, axis: int) -> Stored:
    """Zeros stored as `dtype`."""
    if dtype != "int8":
        return jnp.zeros(shape, dtype)
    narrow = list(shape)
    narrow[axis] = 1
    return Int8(jnp.zeros(shape, jnp.int8), jnp.zeros(narrow, jnp.float32))
