"""Weights as decoding reads them: cut by layer, cast and transposed once, not in every step."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.network import Params
from t5x_selfprog.partitioning import Partitioner


class SamplingWeights(NamedTuple):
    layers: tuple[Params, ...]  # one tree a layer
    outer: Params  # embedding, final norm, head


def sampling_config(config: ModelConfig, weights_dtype: str) -> ModelConfig:
    """The same model computing in the weights' dtype, with a head of its own (a tied one is transposed)."""
    return dataclasses.replace(config, head="separate", dtype=weights_dtype)


def prepare(
    config: ModelConfig, params: Params, weights_dtype: str, partitioner: Partitioner | None
) -> SamplingWeights:
    """Matrices in `weights_dtype`, laid out by the partitioner; vectors (norms, biases) stay float32."""
    if partitioner is None:
        cut = _cut(config, weights_dtype, None)
    else:
        leaves, tree = jax.tree.flatten(_shardings(config, partitioner))
        cut = _cut(config, weights_dtype, (tuple(leaves), tree))
    return jax.block_until_ready(cut(params))


@functools.lru_cache(maxsize=8)
def _cut(
    config: ModelConfig, weights_dtype: str, layout: tuple[tuple, Any] | None
) -> Callable[[Params], SamplingWeights]:
    """The jitted preparation; layout: shardings of the result, flattened, and their tree."""

    def cast(x: jax.Array) -> jax.Array:
        return x.astype(weights_dtype) if x.ndim > 1 else x.astype(jnp.float32)

    def cut(params: Params) -> SamplingWeights:
        outer = {name: value for name, value in params.items() if name != "blocks"}
        if config.head == "tied":
            outer["head"] = params["embedding"].T
        layers = (network.layer_slice(params, layer) for layer in range(config.num_layers))
        return SamplingWeights(tuple(jax.tree.map(cast, x) for x in layers), jax.tree.map(cast, outer))

    out_shardings = None if layout is None else jax.tree.unflatten(layout[1], layout[0])
    return jax.jit(cut, out_shardings=out_shardings)


def _shardings(config: ModelConfig, partitioner: Partitioner) -> Any:
    shardings = partitioner.param_shardings(network.logical_axes(config), network.abstract_params(config))
    if config.head == "tied":
        shardings["head"] = NamedSharding(
            partitioner.mesh, PartitionSpec(*reversed(shardings["embedding"].spec))
        )
    layer = jax.tree.map(lambda s: NamedSharding(s.mesh, PartitionSpec(*s.spec[1:])), shardings.pop("blocks"))
    return SamplingWeights((layer,) * config.num_layers, shardings)
