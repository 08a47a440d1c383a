"""Adapters of low rank (Hu et al. 2021, "LoRA", arXiv:2106.09685): a frozen kernel and a small product added to it.

`Adapters` is a tree beside `params["blocks"]`: {"attention": {"query": {"a": ..., "b": ...}}, "mlp": {...}}, with a
[N, *inputs, r] and b [N, r, *outputs]; a projection with them computes x (kernel + scale a b). Ranks may differ from
projection to projection.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from t5x_selfprog.model.int8 import Int8, Stored

Adapters = dict[str, Any]
PROJECTIONS = ("query", "key", "value", "out", "up", "gate", "down")


class LowRank(NamedTuple):
    """A kernel [*inputs, *outputs] as a projection reads it: itself, a [*inputs, r] and b [r, *outputs]."""

    kernel: Stored
    a: jax.Array
    b: jax.Array


def projections(tree: Adapters) -> Iterator[tuple[str, str]]:
    """(part, projection) of every adapter, or of every projection of a block: ("attention", "query"), ..."""
    for part in sorted(tree):
        for name in sorted(tree[part]):
            if name in PROJECTIONS:
                yield part, name


def adapted(params: Any, adapters: Adapters, scale: float) -> Any:
    """The weights with LowRank kernels where there are adapters: what `network.forward` takes."""
    return _with_kernels(
        params, adapters, lambda kernel, pair: LowRank(kernel, pair["a"], pair["b"] * jnp.float32(scale))
    )


def merged(params: Any, adapters: Adapters, scale: float) -> Any:
    """The weights with the adapters' products added to their kernels, in float32."""

    def add(kernel: jax.Array, pair: dict[str, jax.Array]) -> jax.Array:
        return kernel.astype(jnp.float32) + jnp.float32(scale) * whole(pair["a"], pair["b"])

    return _with_kernels(params, adapters, add)


def whole(a: Any, b: Any) -> jax.Array:
    """[N, *inputs, r], [N, r, *outputs] -> [N, *inputs, *outputs] float32."""
    flat = jnp.einsum(
        "nir,nro->nio",
        a.reshape(a.shape[0], -1, a.shape[-1]),
        b.reshape(*b.shape[:2], -1),
        precision=jax.lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )
    return flat.reshape(*a.shape[:-1], *b.shape[2:])


def ranks(adapters: Adapters) -> dict[str, int]:
    """The rank of each adapted projection, by its name."""
    return {name: int(np.shape(adapters[part][name]["a"])[-1]) for part, name in projections(adapters)}


def _with_kernels(params: Any, adapters: Adapters, change: Any) -> Any:
    blocks = {
        part: dict(inner) if isinstance(inner, dict) else inner for part, inner in params["blocks"].items()
    }
    for part, name in projections(adapters):
        projection = blocks[part][name]
        blocks[part][name] = {**projection, "kernel": change(projection["kernel"], adapters[part][name])}
    return {**params, "blocks": blocks}


def in_width_of(kernel: Stored, x: jax.Array) -> Stored:
    """An int8 kernel with its numbers in x's type, which holds them exactly: integers cannot be differentiated."""
    return Int8(kernel.values.astype(x.dtype), kernel.scale) if isinstance(kernel, Int8) else kernel
