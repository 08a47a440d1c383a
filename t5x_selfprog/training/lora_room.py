"""What training adapters holds on a device, in each of its three phases; the largest decides whether it fits.

The base is loaded in float32 and narrowed; adapters are trained beside the narrowed base; in the end the base is loaded
again and merged with them (stages/adapters.py).
"""

from typing import Any

import jax
import numpy as np

from t5x_selfprog.model import device_room, network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.device_room import Part
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.training.lora import Lora

LORA_REMEDY = (
    "Take a device with more memory, split the weights over several (MeshConfig.fsdp), hold the base in fewer bytes "
    "(Lora.base_dtype = 'int8'), or take a smaller model (`selfprog models`)."
)


def phases(config: ModelConfig, lora: Lora, optimizer: Any, partitioner: Partitioner) -> list[list[Part]]:
    """The parts of each phase: narrowing, training, merging. `optimizer` is an optax transformation."""
    loaded = device_room.loaded(config, partitioner)
    learning = trained(config, lora, optimizer, partitioner)
    base, adapters, *_ = learning
    narrowing = [loaded] if lora.base_dtype == "float32" else [loaded, base]
    return [narrowing, learning, [loaded, adapters, Part("merged weights", loaded.num_bytes)]]


def trained(config: ModelConfig, lora: Lora, optimizer: Any, partitioner: Partitioner) -> list[Part]:
    """What training holds: the base, the adapters, their gradients and their optimizer's state."""
    held = _bytes(lora.abstract_frozen(config), lora.frozen_shardings(config, partitioner))
    shapes = lora.abstract(config)
    adapters = _bytes(shapes, partitioner.param_shardings(lora.axes(config), shapes))
    whole = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes))
    state = sum(
        int(np.prod(x.shape)) * x.dtype.itemsize
        for x in jax.tree.leaves(jax.eval_shape(optimizer.init, shapes))
    )
    return [
        Part(f"the base in {lora.base_dtype}", held),
        Part("adapters", adapters),
        Part("their gradients", adapters),
        Part("the optimizer's state", round(state * adapters / whole)),
    ]


def largest(config: ModelConfig, lora: Lora, optimizer: Any, partitioner: Partitioner) -> list[Part]:
    """The parts of the phase that holds the most."""
    return max(
        phases(config, lora, optimizer, partitioner), key=lambda parts: sum(part.num_bytes for part in parts)
    )


def axes_of(config: ModelConfig, lora: Lora | None) -> Any:
    """Logical axes of what is trained: the optimizer wants to know which weights are matrices."""
    return network.logical_axes(config) if lora is None else lora.axes(config)


def _bytes(shapes: Any, shardings: Any) -> int:
    placed = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)
    return device_room.on_a_device(placed)
