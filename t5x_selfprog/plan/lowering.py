"""A run's three device programs, compiled for a slice that is not here: train step, prefill, decode.

Nothing is allocated: weights, optimizer state, caches and batches are shapes with shardings. The programs are those
that the trainer and the sampler run.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from t5x_selfprog import partitioning
from t5x_selfprog.compiler_options import compiler_options
from t5x_selfprog.model import device_room, low_rank, network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.orbax_restore import abstract_like
from t5x_selfprog.partitioning import MeshConfig, Partitioner
from t5x_selfprog.plan.compiled import compiled
from t5x_selfprog.plan.hlo_cost import Cost, cost_of
from t5x_selfprog.plan.links import Wires
from t5x_selfprog.plan.slices import Slice, devices
from t5x_selfprog.sampling import stop
from t5x_selfprog.sampling.decode import Decoding, decode_chunk
from t5x_selfprog.sampling.grid import Grid, empty_grid, grid_shardings, lies_by_slots
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.placing import Placement, load_prompts, parts
from t5x_selfprog.sampling.prefill import Prefix, compute_prefix
from t5x_selfprog.sampling.weights import abstract_weights, preparation, sampling_config
from t5x_selfprog.training.batches import Batch
from t5x_selfprog.training.learning import WHOLE, AdaptersAlone, Learning
from t5x_selfprog.training.lora import Lora
from t5x_selfprog.training.optimizers import make_optimizer, make_schedule
from t5x_selfprog.training.train_loop import LoopConfig, abstract_state, state_shardings
from t5x_selfprog.training.train_step import make_train_step


@dataclasses.dataclass(frozen=True)
class Program:
    """One program on one chip.

    Attributes:
      bytes: what it needs, by what they hold: arguments, temporaries, results that do not reuse an argument, code.
      error: the compiler's message if it does not fit; then there is no cost.
    """

    name: str
    compile_s: float
    bytes: dict[str, float]
    cost: Cost
    error: str = ""

    @property
    def needs(self) -> float:
        return sum(self.bytes.values())


def partitioner_for(wanted: Slice, mesh: MeshConfig) -> Partitioner:
    return Partitioner(mesh.make(devices(wanted)))


def train_step(
    partitioner: Partitioner,
    config: ModelConfig,
    loop: LoopConfig,
    batch_size: int,
    length: int,
    lora: Lora | None = None,
) -> Program:
    """The train step; with `lora`, of adapters beside a frozen base."""
    config = loop.computing(config)
    learning: Learning = WHOLE
    frozen: Any = ()
    if lora is not None:
        frozen = abstract_like(lora.abstract_frozen(config), lora.frozen_shardings(config, partitioner))
        learning = AdaptersAlone(lora, frozen)
    optimizer = make_optimizer(loop.optimizer, make_schedule(loop.optimizer, 1000), learning.axes(config))
    shardings = state_shardings(config, optimizer, partitioner, learning)
    state = abstract_like(abstract_state(config, optimizer, learning), shardings)
    rows = partitioner.sharding(("batch", "length"), activation=True)
    kinds = {"weights": jnp.float32}
    batch = Batch(
        **{
            name: jax.ShapeDtypeStruct((batch_size, length), kinds.get(name, jnp.int32), sharding=rows)
            for name in Batch._fields
        }
    )
    step = make_train_step(
        config,
        optimizer,
        accumulate=loop.accumulate,
        loss_chunk=loop.loss_chunk,
        weights=learning.params,
        **loop.forward_options(config),
    )
    jitted = jax.jit(step, out_shardings=(shardings, None), donate_argnums=0)
    return _compile("train step", partitioner, jitted, state, batch, frozen)


def narrowing_of_base(partitioner: Partitioner, config: ModelConfig, lora: Lora) -> Program:
    """Narrows the base: holds it both in float32 and in the type it has while its adapters are trained."""
    return _compile(
        "narrow the base", partitioner, lora.holding(config, partitioner), _weights(partitioner, config)
    )


def merging(partitioner: Partitioner, config: ModelConfig, lora: Lora) -> Program:
    """Merges adapters into the base: holds the base, its adapters and the merged weights together."""
    shapes = lora.abstract(config)
    adapters = abstract_like(shapes, partitioner.param_shardings(lora.axes(config), shapes))
    params = _weights(partitioner, config)
    jitted = jax.jit(
        lambda base, trained: low_rank.merged(base, trained, lora.scale),
        out_shardings=jax.tree.map(lambda x: x.sharding, params),
    )
    return _compile("merge", partitioner, jitted, params, adapters)


def _weights(partitioner: Partitioner, config: ModelConfig) -> Any:
    """A model in float32 as it is loaded."""
    shapes = network.abstract_params(config)
    return abstract_like(shapes, partitioner.param_shardings(network.logical_axes(config), shapes))


@dataclasses.dataclass(frozen=True)
class SamplingPrograms:
    """The shapes of a sampler's programs, with the run's `prefix_tokens` and largest prompt bucket."""

    partitioner: Partitioner
    config: ModelConfig
    sampling: SamplingConfig
    prefix_tokens: int
    bucket: int

    def decode(self) -> Program:
        """One chunk of `sampling.chunk_steps` steps."""
        grid = self._grid()
        layout = jax.tree.map(lambda x: x.sharding, grid)
        tables = stop.StopTables(*[self._whole((self.config.vocab_size,), bool)] * 4)
        function = functools.partial(decode_chunk, self._fixed, self.sampling.chunk_steps)
        out = (layout, self.partitioner.replicated)
        jitted = jax.jit(function, donate_argnums=3, out_shardings=out)
        return _compile("decode", self.partitioner, jitted, self._weights, self._prefix, tables, grid)

    def prefill(self) -> Program:
        """A full load of prompts in the largest bucket: `sampling.prompts_per_load` in each part of the grid."""
        grid, count = self._grid(), self.prompts_per_load()
        layout = jax.tree.map(lambda x: x.sharding, grid)

        def one_each(dtype: Any, *shape: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((count, *shape), dtype, sharding=layout.prompt_length)

        placement = Placement(
            group=one_each(jnp.int32),
            real=one_each(bool),
            tokens=one_each(jnp.int32, self.bucket),
            length=one_each(jnp.int32),
            starts_at_line=one_each(bool),
            item_hash=one_each(jnp.uint32, 2),
            first_sample=one_each(jnp.int32),
            end_sample=one_each(jnp.int32),
        )
        function = functools.partial(load_prompts, self._fixed.config, self._fixed.prefix_length, layout)
        jitted = jax.jit(function, donate_argnums=3, out_shardings=layout)
        key = self._whole((2,), jnp.uint32)
        return _compile(
            "prefill", self.partitioner, jitted, self._weights, self._prefix, key, grid, placement
        )

    def cut(self, loaded: Partitioner) -> Program:
        """Makes the weights as decoding reads them from float32 ones laid out by `loaded`."""
        jitted = preparation(self.config, self.sampling.weights_dtype, self.partitioner)
        return _compile("weights", self.partitioner, jitted, _weights(loaded, self.config))

    def narrowing(self) -> Program:
        """The end of a shard, when the grid and the smaller one that replaces it exist together.

        What moves is copied as it is, so this is counted, not compiled.
        """
        grid = device_room.on_a_device(self._grid())
        ways = parts(jax.tree.map(lambda x: x.sharding, self._grid()))
        wide = (-(-groups // ways) * ways for groups in self.sampling.tails())
        tails = (groups for groups in wide if groups < self.sampling.prompts_in_flight)
        share = max(tails, default=0) / self.sampling.prompts_in_flight
        held: dict[str, float] = {
            "weights": self.weights_bytes(),
            "grid": grid,
            "smaller grid": round(share * grid),
        }
        return Program("narrow", 0.0, held, Cost())

    def weights_bytes(self) -> int:
        """Bytes of the weights as decoding reads them, on one chip."""
        return device_room.on_a_device(self._weights)

    def prompts_per_load(self) -> int:
        """The most prompts prefilled at one time, in all parts of the grid together."""
        split = parts(jax.tree.map(lambda x: x.sharding, self._grid()))
        return split * min(self.sampling.prompts_per_load, self.sampling.prompts_in_flight // split)

    @property
    def _fixed(self) -> Decoding:
        return Decoding(
            config=sampling_config(self.config, self.sampling.weights_dtype),
            choice=self.sampling.token_choice(),
            prefix_length=self.prefix_tokens,
            vocab_size=self.config.vocab_size,
            end_ids=(0,),
            max_new_tokens=self.sampling.max_new_tokens,
            attention=self.sampling.row_attention(),
        )

    @property
    def _weights(self) -> Any:
        return abstract_weights(self.config, self.sampling.weights_dtype, self.partitioner)

    @property
    def _prefix(self) -> Prefix | None:
        if not self.prefix_tokens:
            return None
        compute = functools.partial(compute_prefix, self._fixed.config, cache_dtype=self.sampling.cache_dtype)
        shapes = jax.eval_shape(compute, self._weights, self._whole((self.prefix_tokens,), jnp.int32))
        return jax.tree.map(lambda x: self._whole(x.shape, x.dtype), shapes)

    def _grid(self) -> Grid:
        s = self.sampling
        make: Callable[[], Grid] = functools.partial(
            empty_grid,
            self._fixed.config,
            s.prompts_in_flight,
            s.rows_per_prompt,
            self.bucket,
            s.max_new_tokens,
            s.cache_dtype,
            lies_by_slots(self.config, s.cache_dtype, self.partitioner.mesh.devices.flat[0].platform),
        )
        shapes = jax.eval_shape(make)
        return abstract_like(shapes, grid_shardings(self.partitioner, shapes))

    def _whole(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Stands for an array that every chip holds."""
        return jax.ShapeDtypeStruct(shape, dtype, sharding=self.partitioner.replicated)


def _compile(name: str, partitioner: Partitioner, jitted: Any, *arguments: Any) -> Program:
    platform = partitioner.platform
    with partitioning.use(partitioner):
        lowered = jitted.trace(*arguments).lower(lowering_platforms=(platform,))
        found = compiled(lowered, compiler_options(platform), partitioner.mesh.devices.flat)
    if found.error:
        return Program(name, found.compile_s, {}, Cost(), found.error)
    links_of = Wires.of(list(partitioner.mesh.devices.flat)).links if platform == "tpu" else lambda group: 1
    return Program(name, found.compile_s, found.held, cost_of(found.text, links_of))
