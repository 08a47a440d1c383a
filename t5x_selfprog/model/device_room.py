"""Whether a model fits the devices that are here, asked before the first of its weights is read.

It counts what must be in memory at once: weights and, depending on their use, copies, caches, gradients and moments. It
leaves out what else a program needs (activations, temporaries), so a model that passes may still run out of memory,
with a message that names what to lower (machine.py); one that does not pass cannot fit.
"""

import dataclasses
import math
import os
from collections.abc import Sequence
from typing import Any

import jax

from t5x_selfprog.machine import gib
from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.known import TRAINED_BYTES
from t5x_selfprog.partitioning import Partitioner
from verifier.errors import UserError

UNLIMITED = 1 << 60  # without a limit, a control group of version 1 shows a number near the largest


@dataclasses.dataclass(frozen=True)
class Part:
    """What one device holds: in words, and in bytes."""

    what: str
    num_bytes: int


def require_room(
    model: str, config: ModelConfig, parts: Sequence[Part], remedy: str, devices: Sequence[jax.Device]
) -> None:
    """Raises UserError if these parts do not fit the first of the devices; it says what they take and what there is."""
    _require(model, network.num_params(config), parts, remedy, devices)


def require_room_to_train(model: str, num_weights: int, remedy: str) -> None:
    """The same for a model that is not here yet, of which only the number of its weights is known."""
    devices = jax.devices()
    num_bytes = num_weights * TRAINED_BYTES // len(devices)
    parts = [Part("weights, gradients and AdamW's moments in float32", num_bytes)]
    _require(model, num_weights, parts, remedy, devices)


def _require(
    model: str, num_weights: int, parts: Sequence[Part], remedy: str, devices: Sequence[jax.Device]
) -> None:
    there_is, where = device_bytes(devices)
    needed = sum(part.num_bytes for part in parts)
    if there_is is None or needed <= there_is:
        return
    taken = ", ".join(f"{part.what} {gib(part.num_bytes)}" for part in parts)
    each = f" on each of {len(devices)} devices" if len(devices) > 1 else ""
    raise UserError(
        f"{model}: a model of {num_weights:,} weights does not fit: it takes {gib(needed)}{each} "
        f"({taken}), and {where} has {gib(there_is)}. {remedy}"
    )


def loaded(config: ModelConfig, partitioner: Partitioner | None) -> Part:
    """The weights as they are loaded."""
    shapes = network.abstract_params(config)
    return Part("weights in float32", _on_a_device(shapes, _shardings(config, partitioner)))


def trained(config: ModelConfig, partitioner: Partitioner | None, optimizer: Any) -> list[Part]:
    """What training holds: weights, their gradients and the optimizer's state (an optax transformation)."""
    weights = loaded(config, partitioner).num_bytes
    shapes = network.abstract_params(config)
    whole = sum(x.size * 4 for x in jax.tree.leaves(shapes))
    moments = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(jax.eval_shape(optimizer.init, shapes)))
    return [
        Part("weights in float32", weights),
        Part("gradients", weights),
        Part("the optimizer's state", round(moments * weights / whole)),  # laid out as the weights are
    ]


def on_a_device(shapes: Any) -> int:
    """Bytes of a tree of shapes on one device; those without a sharding are there whole."""
    return _on_a_device(shapes, jax.tree.map(lambda x: getattr(x, "sharding", None) or x, shapes))


def device_bytes(devices: Sequence[jax.Device]) -> tuple[int | None, str]:
    """The bytes that one of these devices may hold (None if unknown), and what kind of memory it is, in words."""
    mine = [device for device in devices if device.process_index == jax.process_index()] or list(devices)
    first = mine[0]  # a device of another host shows no statistics
    limit = (first.memory_stats() or {}).get("bytes_limit") if first.platform != "cpu" else None
    if limit:
        return limit, first.device_kind
    if first.platform != "cpu":
        return None, first.device_kind
    free = free_host_bytes()
    shared = f", shared by {len(mine)} devices," if len(mine) > 1 else ""
    return (None if free is None else free // len(mine)), f"this machine's free memory{shared}"


def free_host_bytes(root: str = "/") -> int | None:
    """Bytes that a process may still take on this machine, within its control groups; None where that is unknown."""
    found = [free for free in (_meminfo(root), *_control_groups(root)) if free is not None]
    return min(found, default=None)


def _meminfo(root: str) -> int | None:
    for line in _read(os.path.join(root, "proc/meminfo")).splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable" and value.split()[:1]:
            return int(value.split()[0]) * 1024
    return None


def _control_groups(root: str) -> list[int]:
    """What the limits of this process's control groups and of their parents leave, in versions 1 and 2."""
    found = []
    for line in _read(os.path.join(root, "proc/self/cgroup")).splitlines():
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if controllers and "memory" not in controllers.split(","):
            continue
        top = os.path.join(root, "sys/fs/cgroup", "memory" if controllers else "")
        limit_name = "memory.limit_in_bytes" if controllers else "memory.max"
        names = [name for name in path.split("/") if name]
        for depth in range(len(names) + 1):
            folder = os.path.join(top, *names[:depth])
            limit = _read(os.path.join(folder, limit_name)).strip()
            if limit.isdigit() and int(limit) < UNLIMITED:
                found.append(max(0, int(limit) - _kept(os.path.join(folder, "memory.stat"))))
    return found


def _kept(stat: str) -> int:
    """Memory that a group cannot give back, unlike the files it has read."""
    numbers = dict(line.split(" ", 1) for line in _read(stat).splitlines() if " " in line)
    return int(numbers.get("anon") or numbers.get("total_rss") or numbers.get("rss") or 0)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # not a Linux, or not this version of control groups


def _shardings(config: ModelConfig, partitioner: Partitioner | None) -> Any:
    shapes = network.abstract_params(config)
    if partitioner is None:
        return shapes
    return partitioner.param_shardings(network.logical_axes(config), shapes)


def _on_a_device(shapes: Any, shardings: Any) -> int:
    """shardings: for each shape its sharding, or anything else if it is held whole."""
    pairs = zip(jax.tree.leaves(shapes), jax.tree.leaves(shardings), strict=True)
    return sum(
        math.prod(layout.shard_shape(x.shape) if isinstance(layout, jax.sharding.Sharding) else x.shape)
        * x.dtype.itemsize
        for x, layout in pairs
    )
