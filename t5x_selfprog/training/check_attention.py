"""`selfprog bench attention`: checks a kernel and its gradients against plain attention on this device."""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from t5x_selfprog.model.packed_attention import KERNELS, PackedAttention
from verifier.errors import UserError

DOCUMENTS = (200, 56, 256)  # tokens of each document in a row
WINDOWS = (None, 100)
TOLERANCE = 0.03  # of the largest value; bfloat16 rounds to 1/256


def command(args: argparse.Namespace) -> dict:
    """Compares --attention with "plain" in --dtype; `worst` is the largest difference over the largest value.

    Raises UserError naming an unknown kernel, RuntimeError where they differ.
    """
    if args.attention not in KERNELS:
        raise UserError(f"--attention={args.attention}: choose from {', '.join(KERNELS)}.")
    arguments = _rows(args.dtype)
    worst = max(
        float(np.abs(mine - plain).max() / np.abs(plain).max())
        for window in WINDOWS
        for mine, plain in zip(
            _values_and_gradients(KERNELS[args.attention], arguments, window),
            _values_and_gradients(KERNELS["plain"], arguments, window),
            strict=True,
        )
    )
    if not worst < TOLERANCE:
        raise RuntimeError(
            f"{args.attention} attention differs from plain by {worst:.3f} of the largest value"
        )
    device = jax.devices()[0].device_kind
    result = {"job": "attention", "attention": args.attention, "dtype": args.dtype, "device": device}
    result["worst"] = worst
    return result


def _rows(dtype: str) -> tuple[jax.Array, ...]:
    """q, k, v, positions, segments: two rows, two query heads per key head."""
    random = np.random.default_rng(0)
    length = sum(DOCUMENTS)
    q, k, v = (jnp.asarray(random.normal(size=(2, length, heads, 64)), dtype) for heads in (8, 4, 4))
    segments = np.repeat(np.arange(1, len(DOCUMENTS) + 1), DOCUMENTS)
    positions = np.concatenate([np.arange(size) for size in DOCUMENTS])
    return q, k, v, *(jnp.asarray(np.stack([x, x]), jnp.int32) for x in (positions, segments))


def _values_and_gradients(
    attention: PackedAttention, arguments: tuple[jax.Array, ...], window: int | None
) -> list[np.ndarray]:
    def loss(q, k, v):
        out = attention(q, k, v, *arguments[3:], window, 0.125).astype(jnp.float32)
        return jnp.sum(jnp.sin(out)), out

    (_, out), grads = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(*arguments[:3])
    return [np.asarray(x, np.float32) for x in (out, *grads)]
