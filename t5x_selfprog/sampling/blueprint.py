"""The programs of a sampler, each with its arguments: arrays when it runs, shapes when it is compiled ahead.

All shapes are static: a decoding program for the grid and one for each tail size, a loading program for each prompt
bucket and batch size, one for the prefix, one for an empty grid, one for sharing prompts, and one for each compaction.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from t5x_selfprog.device_program import DeviceProgram
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.sampling.decode import Decoding, decode_chunk
from t5x_selfprog.sampling.grid import Grid, empty_grid, grid_shardings, lies_by_slots
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.placing import Moves, Placement, compact_grid, load_prompts, parts, share_prompts
from t5x_selfprog.sampling.prefill import GPU_QUERY_BLOCK, QUERY_BLOCK, Prefilling, compute_prefix
from t5x_selfprog.sampling.programs import Programs
from t5x_selfprog.sampling.stop import StopTables, Vocabulary
from t5x_selfprog.sampling.weights import SamplingWeights, abstract_weights, sampling_config
from verifier.errors import UserError

SHARES = 16  # shares that one call carries out


class Blueprint:
    """One model's programs on one mesh, with a prefix of one length.

    Attributes:
      buckets: padded lengths of prompts, increasing.
      parts: how many parts the grid's groups are split into; prompts are computed where their groups are.
      tails: sizes of the smaller grids, increasing: as configured, rounded up to a multiple of `parts`.
      platform: the platform of its devices.
      key: tells its programs from another blueprint's of the same names.
    """

    def __init__(
        self,
        model: ModelConfig,
        config: SamplingConfig,
        prefix_length: int,
        buckets: tuple[int, ...],
        vocab_size: int,
        holes: tuple[int, ...],
        end_ids: tuple[int, ...],
        partitioner: Partitioner | None,
    ):
        self.buckets, self._model, self._config, self.partitioner = buckets, model, config, partitioner
        devices = jax.devices()[:1] if partitioner is None else list(partitioner.mesh.devices.flat)
        self.platform = devices[0].platform
        if config.attention == "triton" and (self.platform != "gpu" or len(devices) > 1):
            raise UserError(
                f"SamplingConfig.attention='triton' runs on one GPU, not on {len(devices)} of platform "
                f"{self.platform}: set attention='plain'."
            )
        self.fixed = Decoding(
            config=sampling_config(model, config.weights_dtype),
            choice=config.token_choice(),
            prefix_length=prefix_length,
            vocab_size=vocab_size,
            holes=holes,
            end_ids=end_ids,
            max_new_tokens=config.max_new_tokens,
            attention=config.row_attention(),
        )
        block = GPU_QUERY_BLOCK if self.platform == "gpu" else QUERY_BLOCK
        self._prefilling = Prefilling(self.fixed.config, prefix_length, block)
        # The shardings of the grid and its tails are needed at every load and chunk, so they are kept.
        self._replicated = None if partitioner is None else partitioner.replicated
        self.whole = self._layout_of(config.prompts_in_flight)
        self.parts = parts(self.whole)
        wide = {-(-groups // self.parts) * self.parts for groups in config.tails()}
        self.tails = tuple(sorted(groups for groups in wide if 0 < groups < config.prompts_in_flight))
        self._layouts = {
            groups: self._layout_of(groups) for groups in (config.prompts_in_flight, *self.tails)
        }
        self.key = (self.fixed, config, buckets, partitioner)

    def together(self) -> int:
        """How many prompts one part of the grid can take at once."""
        return min(self._config.prompts_per_load, self._config.prompts_in_flight // self.parts)

    def batches(self) -> tuple[int, ...]:
        """How many prompts of a part may be computed at a time; on CPUs a single one, too.

        On accelerators a batch takes little longer than one prompt, so no program is compiled for one.
        """
        return tuple(sorted({1, self.together()} if self.platform == "cpu" else {self.together()}))

    # The programs and their arguments.

    def prefix(self, weights: Any, tokens: Any) -> DeviceProgram:
        compute = functools.partial(compute_prefix, self._prefilling, cache_dtype=self._config.cache_dtype)
        return self._program("prefix", compute, (weights, tokens), self._replicated)

    def empty(self) -> DeviceProgram:
        make = functools.partial(self._empty, self._config.prompts_in_flight)
        return self._program("empty", make, (), self.whole)

    def load(
        self, weights: Any, prefix: Any, stage_key: Any, grid: Grid, placement: Placement
    ) -> DeviceProgram:
        count, bucket = placement.tokens.shape
        function = functools.partial(load_prompts, self._prefilling, self.whole)
        arguments = (weights, prefix, stage_key, grid, placement)
        return self._program(("load", bucket, count), function, arguments, self.whole, donate=3)

    def share(self, grid: Grid, numbers: Sequence[Any]) -> DeviceProgram:
        """numbers: source, target and middle, [SHARES] each."""
        return self._program("share", share_prompts, (grid, *numbers), self.whole, donate=0)

    def compact(self, grid: Grid, moves: Moves) -> DeviceProgram:
        """Rows stay in their part of the grid: another part is another device, and caches are large to copy."""
        larger, groups = grid.sample.shape[0], moves.group.shape[0]
        function: Any = compact_grid
        if self.parts > 1:
            before, after = (jax.tree.map(lambda x: x.spec, self._layouts[n]) for n in (larger, groups))
            by_groups: Any = after.prompt_length
            assert self.partitioner is not None  # without one there is a single part
            function = jax.shard_map(
                compact_grid,
                mesh=self.partitioner.mesh,
                in_specs=(before, by_groups),
                out_specs=after,
                check_vma=False,
            )
        return self._program(("compact", larger, groups), function, (grid, moves), self._layouts[groups])

    def decode(self, weights: Any, prefix: Any, tables: StopTables, grid: Grid) -> DeviceProgram:
        groups = grid.sample.shape[0]
        out = None if self.partitioner is None else (self._layouts[groups], self._replicated)
        function = functools.partial(decode_chunk, self.fixed, self._config.chunk_steps)
        return self._program(("decode", groups), function, (weights, prefix, tables, grid), out, donate=3)

    def _program(
        self, name: Hashable, function: Callable, arguments: tuple, out: Any, donate: int | None = None
    ) -> DeviceProgram:
        return DeviceProgram(name, function, arguments, donate, out, partitioner=self.partitioner)

    def everything(self) -> Iterator[DeviceProgram]:
        """All programs with shapes for arguments, in the order in which they are needed."""
        c, whole = self._config, self._whole_shape
        weights = self.weights_shape()
        prefix = None
        if self.fixed.prefix_length:
            program = self.prefix(weights, whole((self.fixed.prefix_length,), np.int32))
            yield program
            shapes = jax.eval_shape(program.function, *program.arguments)
            prefix = jax.tree.map(lambda x: whole(x.shape, x.dtype), shapes)
        grids = {groups: self._grid_shape(groups) for groups in self._layouts}
        grid = grids[c.prompts_in_flight]
        tables = StopTables(*[whole((self._model.vocab_size,), bool)] * len(StopTables._fields))
        yield self.decode(weights, prefix, tables, grid)
        for bucket in reversed(self.buckets):
            for each in reversed(self.batches()):
                placement = self._placement_shape(bucket, each)
                yield self.load(weights, prefix, whole((2,), np.uint32), grid, placement)
        yield self.empty()
        smaller = sorted((groups for groups in grids if groups < c.prompts_in_flight), reverse=True)
        for groups in smaller:
            yield self.decode(weights, prefix, tables, grids[groups])
        if c.prompts_in_flight > 1:
            yield self.share(grid, [whole((SHARES,), np.int32)] * 3)
        for larger in (c.prompts_in_flight, *smaller):
            for groups in smaller:
                if groups < larger:
                    yield self.compact(grids[larger], self._moves_shape(groups))

    def described(self, name: Hashable) -> DeviceProgram:
        """The one of `everything` that has this name."""
        return next(program for program in self.everything() if program.name == name)

    # Shapes.

    def weights_shape(self) -> SamplingWeights:
        """The shapes of the weights as decoding reads them, with their layout."""
        return abstract_weights(self._model, self._config.weights_dtype, self.partitioner)

    def _whole_shape(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """The shape of an array that every device holds whole."""
        return jax.ShapeDtypeStruct(shape, dtype, sharding=self._replicated)

    def _grid_shape(self, groups: int) -> Grid:
        shapes = jax.eval_shape(functools.partial(self._empty, groups))
        layout = self._layouts[groups]
        if layout is None:
            return shapes
        return jax.tree.map(
            lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), shapes, layout
        )

    def _placement_shape(self, bucket: int, each: int) -> Placement:
        sharding: Any = None if self.whole is None else self.whole.prompt_length
        arrays = no_prompts(self.parts * each, bucket)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), arrays)

    def _moves_shape(self, groups: int) -> Moves:
        rows = (groups, self._config.rows_per_prompt)
        group, row = self._whole_shape((groups,), np.int32), self._whole_shape(rows, np.int32)
        return Moves(group, row, row, self._whole_shape(rows, bool))

    def grid_shape(self) -> Grid:
        """The shapes of the whole grid, with its layout."""
        return self._grid_shape(self._config.prompts_in_flight)

    def grid_bytes(self) -> int:
        """The size of the whole grid, on all devices together."""
        return tree_bytes(self.grid_shape())

    def _empty(self, groups: int) -> Grid:
        c, model = self._config, self.fixed.config
        by_slots = lies_by_slots(model, c.cache_dtype, self.platform)
        return empty_grid(
            model, groups, c.rows_per_prompt, self.buckets[-1], c.max_new_tokens, c.cache_dtype, by_slots
        )

    def _layout_of(self, groups: int) -> Grid | None:
        if self.partitioner is None:
            return None
        shapes = jax.eval_shape(functools.partial(self._empty, groups))
        return grid_shardings(self.partitioner, shapes)


def no_prompts(count: int, bucket: int) -> Placement:
    """Places without a job: each holds a prompt of one token, which is written nowhere."""
    return Placement(
        group=np.zeros(count, np.int32),
        real=np.zeros(count, bool),
        tokens=np.zeros((count, bucket), np.int32),
        length=np.ones(count, np.int32),
        starts_at_line=np.zeros(count, bool),
        item_hash=np.zeros((count, 2), np.uint32),
        first_sample=np.zeros(count, np.int32),
        end_sample=np.zeros(count, np.int32),
    )


def tree_bytes(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


@dataclasses.dataclass(frozen=True)
class Room:
    """What precedes prompts, and how long they may be.

    Attributes:
      start: tokens that begin every prompt.
      prefix: tokens before all prompts, computed once.
      limits: what limits the longest prompt, in words.
    """

    start: tuple[int, ...]
    prefix: tuple[int, ...]
    buckets: tuple[int, ...]
    limits: str

    @classmethod
    def of(cls, model: ModelConfig, tokenizer: Vocabulary, config: SamplingConfig, prefix: str) -> "Room":
        """Raises UserError where the model's context leaves no room for prompts."""
        first = tokenizer.start_id if config.document_start else None
        start = () if first is None else (first,)
        before = (*start, *tokenizer.encode(prefix)) if prefix else ()
        room = model.context_length - len(before) - config.max_new_tokens
        limits = (
            f"largest prompt bucket {config.prompt_buckets[-1]}; context {model.context_length}, of "
            f"which the prefix takes {len(before)} and max_new_tokens {config.max_new_tokens}"
        )
        if room < 1:
            raise UserError(f"No room for prompts: {limits}.")
        return cls(() if prefix else start, before, config.buckets(room), limits)


def blueprint_of(
    model: ModelConfig,
    tokenizer: Vocabulary,
    config: SamplingConfig,
    room: Room,
    partitioner: Partitioner | None,
) -> Blueprint:
    return Blueprint(
        model,
        config,
        len(room.prefix),
        room.buckets,
        tokenizer.vocab_size,
        tuple(tokenizer.holes),
        tuple(tokenizer.end_ids),
        partitioner,
    )


def compile_ahead(
    model: ModelConfig,
    tokenizer: Vocabulary,
    config: SamplingConfig,
    prefix: str,
    partitioner: Partitioner | None,
) -> None:
    """Begins to compile, in other threads, what a sampler of these shapes will need and find by itself.

    On CPUs nothing is compiled ahead: cores are scarce there, and not every program will be needed.
    """
    plan = blueprint_of(model, tokenizer, config, Room.of(model, tokenizer, config, prefix), partitioner)
    if plan.platform != "cpu":
        Programs(plan.key).ahead(plan.everything())
