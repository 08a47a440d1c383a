"""Layout of arrays on devices: a mesh, and one table from logical axis names to mesh axes.

Every weight and activation names its dimensions (batch, length, embed, mlp, heads, kv, head, vocab, layers); a
machine's table says which mesh axis, if any, each name is split over. CPU, GPU and TPU slices differ only in this
table.
"""

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from t5x_selfprog.bounds import Count, CountOrAll
from verifier.errors import UserError

# FSDP: weights are split over `fsdp` along their embed dimension, activations over `data` and `fsdp` by batch;
# `tensor` splits heads, feed-forward and vocabulary (Megatron-style).
DEFAULT_RULES: dict[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp"),
    "length": (),
    "embed": ("fsdp",),
    "mlp": ("tensor",),
    "heads": ("tensor",),
    "kv": ("tensor",),
    "head": (),
    "vocab": ("tensor",),
    "layers": (),
}


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """A mesh by axis name and size.

    Attributes:
      data, fsdp, tensor: sizes of the axes, one of which may be -1 (all remaining devices).
      fsdp_at_most: the most ways that a run splits its weights over `fsdp`, on any slice; the rest of that axis goes to
        `data`. A slice does not know how wide the model is: split too thinly, whole gradients are summed on every chip
        (`selfprog plan --meshes` compares). None for no limit.
      sampling_tensor: how many devices share a copy of the weights while sampling; each copy has its own prompts. None
        means `tensor`. Use more only if a copy and its caches do not fit, because decoding then waits for devices to
        exchange activations in every layer.
    """

    data: CountOrAll = -1
    fsdp: CountOrAll = 1
    tensor: CountOrAll = 1
    sampling_tensor: Count | None = None
    fsdp_at_most: Count | None = None

    def sizes(self, num_devices: int) -> dict[str, int]:
        """The size of each axis over so many devices. Raises UserError if they do not multiply to their number."""
        sizes = {"data": self.data, "fsdp": self.fsdp, "tensor": self.tensor}
        known = math.prod(size for size in sizes.values() if size != -1)
        free = [name for name, size in sizes.items() if size == -1]
        if len(free) > 1 or num_devices % known or (not free and known != num_devices):
            raise UserError(
                f"MeshConfig {sizes} does not fit {num_devices} devices: the sizes must multiply to "
                f"{num_devices}, and at most one may be -1."
            )
        sizes = {name: num_devices // known if size == -1 else size for name, size in sizes.items()}
        if self.fsdp_at_most is not None:
            ways = max(n for n in range(1, self.fsdp_at_most + 1) if sizes["fsdp"] % n == 0)
            sizes |= {"data": sizes["data"] * sizes["fsdp"] // ways, "fsdp": ways}
        return sizes

    def make(self, devices: list[jax.Device] | None = None) -> Mesh:
        """The mesh over these devices (None: all of them).

        Slices joined only by the data-centre network lie along `data`, the axis with the least traffic: only gradients
        cross it, once per step.

        Raises UserError if the sizes do not multiply to the number of devices, or `data` is not split by slice.
        """
        devices = list(jax.devices() if devices is None else devices)
        sizes = self.sizes(len(devices))
        shape = tuple(sizes.values())
        grid = np.asarray(devices).reshape(shape)
        if devices[0].platform == "tpu":
            grid = _along_links(shape, devices)
        return Mesh(grid, tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))


def _along_links(shape: tuple[int, ...], devices: list[jax.Device]) -> np.ndarray:
    """Orders TPU devices so that mesh axes follow the links between chips, and slices lie along the first axis."""
    from jax.experimental import mesh_utils

    slices = len({getattr(device, "slice_index", 0) for device in devices})
    if slices == 1:
        return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)
    if shape[0] % slices:
        raise UserError(
            f"MeshConfig.data={shape[0]} must be a multiple of the {slices} slices, so that weights and heads are "
            f"split within a slice: set MeshConfig.data={slices} and fsdp to the chips of one slice, say."
        )
    within = (shape[0] // slices, *shape[1:])
    across = (slices, *[1] * (len(shape) - 1))
    return mesh_utils.create_hybrid_device_mesh(within, across, devices, allow_split_physical_axes=True)


@dataclasses.dataclass(frozen=True)
class Partitioner:
    """A mesh, and the table that lays out arrays on it."""

    mesh: Mesh
    rules: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=lambda: dict(DEFAULT_RULES))

    def __hash__(self) -> int:
        return hash((self.mesh, tuple(sorted(self.rules.items()))))

    def spec(self, axes: tuple[str | None, ...], activation: bool = False) -> PartitionSpec:
        """The layout of an array with these logical axes.

        Activations keep `embed` whole, because their batch already uses the mesh axis that splits the weights' embed.
        Raises UserError if two dimensions of an array would be split over the same mesh axis.
        """
        used: dict[str, str] = {}
        parts = []
        for axis in axes:
            mesh_axes = () if axis is None or (activation and axis == "embed") else self._lookup(axis)
            for mesh_axis in mesh_axes:
                if mesh_axis in used:
                    raise UserError(
                        f"Logical axes {used[mesh_axis]!r} and {axis!r} of one array {axes} both map to mesh axis "
                        f"{mesh_axis!r}: give one of them another mesh axis in the rules."
                    )
                used[mesh_axis] = str(axis)
            parts.append(mesh_axes if len(mesh_axes) > 1 else (mesh_axes[0] if mesh_axes else None))
        return PartitionSpec(*parts)

    def _lookup(self, axis: str) -> tuple[str, ...]:
        if axis not in self.rules:
            raise UserError(f"No rule for logical axis {axis!r}; the table has {sorted(self.rules)}.")
        return tuple(self.rules[axis])

    def sharding(self, axes: tuple[str | None, ...], activation: bool = False) -> NamedSharding:
        return NamedSharding(self.mesh, self.spec(axes, activation))

    def param_sharding(self, axes: tuple[str | None, ...], shape: tuple[int, ...]) -> NamedSharding:
        """The sharding of one weight; dimensions not divisible by their mesh axes stay whole."""
        parts = list(self.spec(axes))
        for i, part in enumerate(parts):
            names = (part,) if isinstance(part, str) else (part or ())
            if shape[i] % math.prod(self.mesh.shape[name] for name in names):
                parts[i] = None
        return NamedSharding(self.mesh, PartitionSpec(*parts))

    def param_shardings(self, axes_tree: Any, shapes: Any) -> Any:
        """Shardings for a tree of weights."""
        one = lambda axes, x: self.param_sharding(axes, x.shape)  # noqa: E731
        return jax.tree.map(one, axes_tree, shapes, is_leaf=_is_axes)

    @property
    def platform(self) -> str:
        """The devices' platform: "cpu", "gpu" or "tpu"."""
        return self.mesh.devices.flat[0].platform

    @property
    def batch_ways(self) -> int:
        """How many devices, or groups of them, share a batch; the number of rows must be divisible by it."""
        return math.prod(self.mesh.shape[axis] for axis in self.rules["batch"])

    def for_sampling(self, tensor: int | None = None) -> "Partitioner":
        """The same devices laid out for sampling: `tensor` neighbours (None: as now) share a copy of the weights.

        Weights are not split along `embed`, since they would have to be gathered in every decoding step.
        Raises UserError if groups of this size do not make up the mesh.
        """
        tensor = tensor or self.mesh.shape["tensor"]
        if self.mesh.size % tensor:
            ways = [n for n in range(1, self.mesh.size + 1) if self.mesh.size % n == 0]
            raise UserError(
                f"MeshConfig.sampling_tensor={tensor} does not divide the mesh's {self.mesh.size} devices: "
                f"choose one of {', '.join(map(str, ways))}."
            )
        grid = self.mesh.devices.reshape(-1, 1, tensor)
        mesh = Mesh(grid, self.mesh.axis_names, axis_types=(AxisType.Auto,) * grid.ndim)
        return Partitioner(mesh, {**self.rules, "embed": ()})

    @property
    def replicated(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec())


def _is_axes(x: Any) -> bool:
    return isinstance(x, tuple)


_current: contextvars.ContextVar[Partitioner | None] = contextvars.ContextVar("partitioner", default=None)


@contextlib.contextmanager
def use(partitioner: Partitioner | None) -> Iterator[None]:
    """Lays out activations traced in the block by this partitioner; None leaves them to the compiler."""
    token = _current.set(partitioner)
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Partitioner | None:
    """The partitioner of the innermost `use`."""
    return _current.get()


def constrain(x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
    """Constrains an activation's layout by the current partitioner; does nothing outside `use`."""
    partitioner = _current.get()
    if partitioner is None or partitioner.mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, partitioner.sharding(axes, activation=True))


def constrain_weights(weights: Any, axes: Any) -> Any:
    """Constrains weights, and with them their gradients, to the current partitioner's layout.

    The weights have this layout already. The gradient of a weight split over devices is a sum over the rows of all of
    them, which the compiler might otherwise form whole on every device instead of only the part that it updates.

    Args:
      weights: a tree of arrays; anything else (quantised or adapted kernels, which have no gradient) is left alone.
      axes: the logical axes of each, as in `network.logical_axes`.
    """
    partitioner = _current.get()
    if partitioner is None or partitioner.mesh.size == 1:
        return weights

    def one(axes: tuple[str | None, ...], x: Any) -> Any:
        if not isinstance(x, jax.Array):
            return x
        return jax.lax.with_sharding_constraint(x, partitioner.param_sharding(axes, x.shape))

    return jax.tree.map(one, axes, weights, is_leaf=_is_axes)
