"""Weights in the form that decoding reads: split by layer, cast, joined and transposed once, not in every step."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from t5x_selfprog.device_program import DeviceProgram
from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.int8 import Int8, quantize, store
from t5x_selfprog.model.network import Params
from t5x_selfprog.partitioning import Partitioner


class SamplingWeights(NamedTuple):
    """Matrices that a decoding step reads whole may be Int8."""

    layers: tuple[Params, ...]  # one tree per layer: what `network.bind_block` takes
    outer: Params  # embedding, final norm, head: what `network.bind` takes

    @property
    def narrow(self) -> bool:
        """Whether any matrix is Int8."""
        return isinstance(self.outer["head"], Int8)


def sampling_config(config: ModelConfig, weights_dtype: str) -> ModelConfig:
    """The same model, computing in the weights' dtype, with a separate head (a tied one is transposed)."""
    dtype = "bfloat16" if weights_dtype == "int8" else weights_dtype
    return dataclasses.replace(config, head="separate", dtype=dtype)


def prepare(
    config: ModelConfig, params: Params, weights_dtype: str, partitioner: Partitioner | None
) -> SamplingWeights:
    """Matrices in `weights_dtype`, laid out by the partitioner; vectors (norms, biases) stay float32.

    Projections of the same input are joined (`network.join`), unless the mesh splits queries and keys differently. In
    int8 every output of a projection, and every token of the head, has its own scale; embeddings, of which a step
    reads only one row per token, are bfloat16.
    """
    return jax.block_until_ready(preparation(config, weights_dtype, partitioner).jitted(params))


@functools.lru_cache(maxsize=8)  # a run makes many samplers of one shape
def preparation(config: ModelConfig, weights_dtype: str, partitioner: Partitioner | None) -> DeviceProgram:
    """The program that `prepare` runs, of a model's weights."""
    joint = _may_join(config, partitioner)
    out = None if partitioner is None else _shardings(config, weights_dtype, joint, partitioner)
    cut = _cut(config, weights_dtype, joint)
    return DeviceProgram("weights", cut, out_shardings=out, partitioner=partitioner)


def abstract_weights(
    config: ModelConfig, weights_dtype: str, partitioner: Partitioner | None
) -> SamplingWeights:
    """Shapes and shardings (without a partitioner: none) of what `prepare` makes; nothing is allocated."""
    program = preparation(config, weights_dtype, partitioner)
    shapes = jax.eval_shape(program.function, network.abstract_params(config))
    if partitioner is None:
        return shapes
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, program.out_shardings
    )


def _may_join(config: ModelConfig, partitioner: Partitioner | None) -> bool:
    """Whether each device's queries belong to its own keys, so that they can be stored together."""
    if partitioner is None:
        return True
    ways = [
        math.prod(partitioner.mesh.shape[axis] for axis in partitioner.rules[name])
        for name in ("heads", "kv")
    ]
    return ways[0] == ways[1] and config.num_kv_heads % ways[0] == 0


def _cut(config: ModelConfig, weights_dtype: str, joint: bool) -> Callable[[Params], SamplingWeights]:
    """joint: projections of the same input are joined."""

    dtype = sampling_config(config, weights_dtype).dtype
    inputs = _layer_inputs(config, joint)

    def cast(x: jax.Array) -> jax.Array:
        return x.astype(dtype) if x.ndim > 1 else x.astype(jnp.float32)

    def cut(params: Params) -> SamplingWeights:
        outer = {name: value for name, value in params.items() if name != "blocks"}
        if config.head == "tied":
            outer["head"] = params["embedding"].T
        head = outer.pop("head")
        outer = jax.tree.map(cast, outer) | {"head": store(head, weights_dtype, 0)}
        layers = [network.layer_slice(params, layer) for layer in range(config.num_layers)]
        if joint:
            layers = [network.join(config, layer) for layer in layers]
        if weights_dtype == "int8":
            narrow = lambda axes, x: quantize(x, axes) if axes else cast(x)  # noqa: E731
            return SamplingWeights(
                tuple(jax.tree.map(narrow, inputs, layer, is_leaf=_is_axes) for layer in layers), outer
            )
        return SamplingWeights(tuple(jax.tree.map(cast, layer) for layer in layers), outer)

    return cut


def _layer_inputs(config: ModelConfig, joint: bool) -> Params:
    """The dimensions of a layer's weights that a projection sums over; () for whatever is not a kernel."""

    def inputs(path: tuple, axes: tuple[str, ...]) -> tuple[int, ...]:
        if path[-1].key != "kernel":
            return ()
        return tuple(range(len(axes) - 2)) if axes[-1] == "embed" else (0,)  # axes: layers, *inputs, *outputs

    axes = network.logical_axes(config, joint)["blocks"]
    return jax.tree_util.tree_map_with_path(inputs, axes, is_leaf=_is_axes)


def _is_axes(x: Any) -> bool:
    return isinstance(x, tuple)


def _shardings(config: ModelConfig, weights_dtype: str, joint: bool, partitioner: Partitioner) -> Any:
    shardings = partitioner.param_shardings(
        network.logical_axes(config, joint), network.abstract_params(config, joint)
    )
    if config.head == "tied":
        shardings["head"] = NamedSharding(
            partitioner.mesh, PartitionSpec(*reversed(shardings["embedding"].spec))
        )
    layer = jax.tree.map(lambda s: NamedSharding(s.mesh, PartitionSpec(*s.spec[1:])), shardings.pop("blocks"))

    def with_scale(axes: tuple[int, ...], values: NamedSharding) -> NamedSharding | Int8:
        spec = [None if i in axes else part for i, part in enumerate(values.spec)]
        return Int8(values, NamedSharding(values.mesh, PartitionSpec(*spec))) if axes else values

    if weights_dtype == "int8":
        shardings["head"] = with_scale((0,), shardings["head"])
        layer = jax.tree.map(with_scale, _layer_inputs(config, joint), layer, is_leaf=_is_axes)
    return SamplingWeights((layer,) * config.num_layers, shardings)
