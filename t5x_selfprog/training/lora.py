"""Adapters of low rank as what training changes: the base stays frozen, in as few bytes as one likes."""

import dataclasses
import math
import zlib
from collections.abc import Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from t5x_selfprog.bounds import Count, Positive
from t5x_selfprog.device_program import DeviceProgram
from t5x_selfprog.model import low_rank, network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.int8 import Int8, quantize
from t5x_selfprog.model.low_rank import PROJECTIONS, Adapters
from t5x_selfprog.partitioning import Partitioner
from verifier.errors import UserError

BASE_DTYPES = ("float32", "bfloat16", "int8")


@dataclasses.dataclass(frozen=True)
class Lora:
    """Which adapters are trained in place of the whole model.

    Attributes:
      rank: r; columns of a and rows of b.
      alpha: their product is scaled by alpha / rank.
      targets: projections that have adapters, by our names: query, key, value, out, up, gate, down. A model without
        gates has none at `gate`; any other target must be there.
      base_dtype: what the frozen weights are held in while adapters are trained, "float32", "bfloat16" or "int8"
        (matrices of blocks, a scale for every output; the rest in bfloat16). They are merged with the base as it was.
    """

    rank: Count = 16
    alpha: Positive = 32.0
    targets: tuple[str, ...] = PROJECTIONS
    base_dtype: Literal["float32", "bfloat16", "int8"] = "float32"

    def __post_init__(self):
        object.__setattr__(self, "targets", tuple(self.targets))
        if self.rank < 1:
            raise UserError(f"Lora.rank={self.rank}: must be at least 1.")
        if not 0 < self.alpha < math.inf:
            raise UserError(f"Lora.alpha={self.alpha}: must be a positive number.")
        unknown = [name for name in self.targets if name not in PROJECTIONS]
        if unknown or not self.targets:
            raise UserError(f"Lora.targets={self.targets}: choose some of {', '.join(PROJECTIONS)}.")
        if self.base_dtype not in BASE_DTYPES:
            raise UserError(
                f"Lora.base_dtype={self.base_dtype!r}: choose {', '.join(map(repr, BASE_DTYPES))}."
            )

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    def axes(self, config: ModelConfig) -> Adapters:
        """Logical axes of the adapters, as `network.logical_axes` has them."""
        return self._tree(
            config, lambda axes, inputs: ((*axes[: inputs + 1], None), (axes[0], None, *axes[inputs + 1 :]))
        )

    def abstract(self, config: ModelConfig) -> Adapters:
        """Shapes of the adapters, float32."""
        r = self.rank
        shapes = {name: leaf.shape for name, leaf in _kernels(network.abstract_params(config))}

        def of(axes: tuple, inputs: int, name: tuple[str, str]) -> tuple:
            shape = shapes[name]
            pair = (*shape[: inputs + 1], r), (shape[0], r, *shape[inputs + 1 :])
            return tuple(jax.ShapeDtypeStruct(each, jnp.float32) for each in pair)

        return self._tree(config, of, named=True)

    def init(self, config: ModelConfig, seed: int) -> Adapters:
        """Fresh adapters, which change nothing yet: a as torch's linear layers begin (+-1/sqrt(inputs)), b zero.

        Every number is a function of (seed, projection) alone, not of which other adapters there are or of their order.
        """

        def draw(path: tuple, leaf: jax.ShapeDtypeStruct) -> np.ndarray:
            if path[-1].key == "b":
                return np.zeros(leaf.shape, np.float32)
            name = "/".join(str(part.key) for part in path)
            bound = math.prod(leaf.shape[1:-1]) ** -0.5
            random = np.random.default_rng((seed, zlib.crc32(name.encode())))
            return random.uniform(-bound, bound, leaf.shape).astype(np.float32)

        return jax.tree_util.tree_map_with_path(draw, self.abstract(config))

    def frozen(
        self, config: ModelConfig, params: network.Params, partitioner: Partitioner | None = None
    ) -> network.Params:
        """The base as it is held while its adapters are trained; with a partitioner, laid out by it."""
        if self.base_dtype == "float32":
            return params
        return self.holding(config, partitioner).jitted(params)

    def holding(self, config: ModelConfig, partitioner: Partitioner | None = None) -> DeviceProgram:
        """The program from the base's weights to what is held of them."""
        summed = self._summed(config)

        def hold(path: tuple, value: jax.Array) -> Any:
            name = tuple(str(part.key) for part in path)
            if axes := summed.get(name):
                return quantize(value, axes)
            return value.astype(jnp.bfloat16) if value.ndim > 1 + (name[0] == "blocks") else value

        out = None if partitioner is None else self.frozen_shardings(config, partitioner)
        return DeviceProgram(
            "narrow the base",
            lambda tree: jax.tree_util.tree_map_with_path(hold, tree),
            out_shardings=out,
            partitioner=partitioner,
        )

    def merging(self, config: ModelConfig, partitioner: Partitioner) -> DeviceProgram:
        """The program from the base's weights and trained adapters to a whole model's weights."""
        return DeviceProgram(
            "merge adapters",
            lambda base, adapters: low_rank.merged(base, adapters, self.scale),
            out_shardings=partitioner.param_shardings(
                network.logical_axes(config), network.abstract_params(config)
            ),
            partitioner=partitioner,
        )

    def abstract_frozen(self, config: ModelConfig) -> Any:
        """Shapes of the base as it is held."""
        shapes = network.abstract_params(config)
        return (
            shapes if self.base_dtype == "float32" else jax.eval_shape(self.holding(config).function, shapes)
        )

    def frozen_shardings(self, config: ModelConfig, partitioner: Partitioner) -> Any:
        """The layout of the base as it is held: the one in which it is loaded; scales have that of what they scale."""
        shardings = partitioner.param_shardings(network.logical_axes(config), network.abstract_params(config))
        summed = self._summed(config)

        def of(path: tuple, sharding: NamedSharding) -> Any:
            axes = summed.get(tuple(str(part.key) for part in path))
            if not axes:
                return sharding
            spec = [None if i in axes else part for i, part in enumerate(sharding.spec)]
            return Int8(sharding, NamedSharding(sharding.mesh, PartitionSpec(*spec)))

        return jax.tree_util.tree_map_with_path(of, shardings)

    def _summed(self, config: ModelConfig) -> dict[tuple[str, ...], tuple[int, ...]]:
        """The dimensions that share a scale, by path, of the kernels that are held in int8."""
        if self.base_dtype != "int8":
            return {}
        return {
            ("blocks", *name, "kernel"): tuple(range(1, 1 + _inputs(axes)))
            for name, axes in _kernels(network.logical_axes(config))
        }

    def _tree(self, config: ModelConfig, of: Any, named: bool = False) -> Adapters:
        axes = network.logical_axes(config)
        there = dict(_kernels(axes))
        missing = [t for t in self.targets if t != "gate" and t not in {name for _, name in there}]
        if missing:
            raise UserError(f"Lora.targets: this model has no projection {', '.join(missing)}.")
        tree: Adapters = {}
        for (part, name), kernel_axes in there.items():
            if name in self.targets:
                more = ((part, name),) if named else ()
                a, b = of(kernel_axes, _inputs(kernel_axes), *more)
                tree.setdefault(part, {})[name] = {"a": a, "b": b}
        return tree


def adapters_entry(lora: Lora | None) -> dict[str, Any]:
    """The entry "lora" of done.json, as it is read again; none where all weights are trained."""
    return {} if lora is None else {"lora": dataclasses.asdict(lora) | {"targets": list(lora.targets)}}


def _kernels(params: Any) -> Iterator[tuple[tuple[str, str], Any]]:
    """Kernels of a block's projections by (part, projection)."""
    blocks = params["blocks"]
    for part, name in low_rank.projections(
        {p: inner for p, inner in blocks.items() if isinstance(inner, dict)}
    ):
        yield (part, name), blocks[part][name]["kernel"]


def _inputs(axes: tuple[str | None, ...]) -> int:
    """How many dimensions of a kernel [N, *inputs, *outputs] are inputs: all but the last if that is `embed`, else
    one."""
    return len(axes) - 2 if axes[-1] == "embed" else 1
