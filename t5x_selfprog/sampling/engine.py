"""The device's side of sampling: weights, the prefix, and the programs that act on a grid.

All shapes are static: a decoding program for the grid and one for its tail, a loading program for each prompt
bucket and batch, one for sharing a prompt, one for narrowing.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from t5x_selfprog import hosts, machine
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.network import Params
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.sampling.decode import Decoding, Events, decode_chunk
from t5x_selfprog.sampling.grid import Grid, empty_grid, grid_shardings, lies_by_slots
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.placing import Placement, load_prompts, narrow_grid, parts, share_prompts
from t5x_selfprog.sampling.prefill import Prefix, compute_prefix
from t5x_selfprog.sampling.programs import REMEDY, Programs
from t5x_selfprog.sampling.scheduler import Job, Narrowing, Share
from t5x_selfprog.sampling.stop import StopTables
from t5x_selfprog.sampling.weights import prepare, sampling_config

SHARES = 16  # that one program carries out


class Engine:
    """One model on one mesh, with one prefix.

    Attributes:
      buckets: padded lengths of prompts, increasing.
      parts: into how many the groups of the grid are split; prompts are computed where their groups are.
      platform: of its devices.
      programs: what has been compiled.
    """

    def __init__(
        self,
        model: ModelConfig,
        params: Params,
        config: SamplingConfig,
        tables: StopTables,
        prefix_tokens: Sequence[int],
        buckets: tuple[int, ...],
        vocab_size: int,
        end_ids: tuple[int, ...],
        partitioner: Partitioner | None,
    ):
        self.buckets = buckets
        self._config, self._partitioner = config, partitioner
        devices = jax.devices() if partitioner is None else partitioner.mesh.devices.flat
        self.platform = devices[0].platform
        self._fixed = Decoding(
            config=sampling_config(model, config.weights_dtype),
            choice=config.token_choice(),
            prefix_length=len(prefix_tokens),
            vocab_size=vocab_size,
            end_ids=end_ids,
            max_new_tokens=config.max_new_tokens,
        )
        with machine.naming_memory(f"casting weights to {config.weights_dtype}", REMEDY):
            self._weights = prepare(model, params, config.weights_dtype, partitioner)
        caches = jax.eval_shape(functools.partial(self._empty, config.prompts_in_flight))
        holds = (
            f"weights {machine.gib(_bytes(self._weights))}, caches {machine.gib(_bytes(caches))} for "
            f"{config.prompts_in_flight} prompts x {config.rows_per_prompt} rows, on all devices together"
        )
        # The grid's shardings and its tail's: asked for at every load and chunk.
        sizes = {config.prompts_in_flight, *config.tails()}
        self._layouts = {groups: self._layout_of(groups) for groups in sizes if groups}
        self._whole_layout = self._layouts[config.prompts_in_flight]
        self.parts = parts(self._whole_layout)
        self.programs = Programs((self._fixed, config, buckets), partitioner, holds)
        self._tables = self._put(tables)
        self._prefix: Prefix | None = None
        if prefix_tokens:
            tokens = self._put(np.asarray(prefix_tokens, np.int32))
            compute = functools.partial(compute_prefix, self._fixed.config, cache_dtype=config.cache_dtype)
            self._prefix = self.programs.call("prefix", compute, self._weights, tokens)

    def empty(self, step: int = 0) -> Grid:
        """A grid with nothing to do, with so many decoding steps behind it."""
        make = functools.partial(self._empty, self._config.prompts_in_flight)
        grid = self.programs.call("empty", make, out_shardings=self._whole_layout)
        return dataclasses.replace(grid, step=self._put(np.int32(step))) if step else grid

    def load(self, grid: Grid, placed: list[tuple[Job, int]], each: int, stage_key: np.ndarray) -> Grid:
        """Computes the prompts of jobs that share a bucket, each for its idle group. Consumes the grid.

        Args:
          placed: jobs with their groups, at most `each` in a part of the grid; all parts compute `each` prompts.
        """
        bucket, groups = self.bucket(placed[0][0]), self._config.prompts_in_flight // self.parts
        count = self.parts * each
        # A place without a job holds a prompt of one token, which goes nowhere.
        placement = Placement(
            group=np.zeros(count, np.int32),
            real=np.zeros(count, bool),
            tokens=np.zeros((count, bucket), np.int32),
            length=np.ones(count, np.int32),
            starts_at_line=np.zeros(count, bool),
            item_hash=np.zeros((count, 2), np.uint32),
            first_sample=np.zeros(count, np.int32),
            end_sample=np.zeros(count, np.int32),
        )
        taken = [0] * self.parts
        for job, group in placed:
            part = group // groups
            place = part * each + taken[part]
            taken[part] += 1
            placement.group[place], placement.real[place] = group % groups, True
            placement.tokens[place, : len(job.tokens)] = job.tokens
            placement.length[place] = len(job.tokens)
            placement.starts_at_line[place] = job.at_line_start
            placement.item_hash[place] = _item_hash(job.item_id)
            placement.first_sample[place], placement.end_sample[place] = job.first_sample, job.end_sample
        layout = self._whole_layout
        function = functools.partial(load_prompts, self._fixed.config, self._fixed.prefix_length, layout)
        constants = (self._weights, self._prefix, self._put(stage_key))
        there = placement if layout is None else hosts.place(placement, layout.prompt_length)
        return self._update(("load", bucket, count), function, constants, grid, there)

    def share(self, grid: Grid, shares: Sequence[Share]) -> Grid:
        """Consumes the grid. A share's source may be the target of one before it."""
        groups = grid.sample.shape[0]
        for begin in range(0, len(shares), SHARES):
            some = shares[begin : begin + SHARES]
            # Places without a share copy nothing: their targets lie behind the last group, each its own.
            source, target = np.zeros(SHARES, np.int32), groups + np.arange(SHARES, dtype=np.int32)
            middle = np.zeros(SHARES, np.int32)
            for i, share in enumerate(some):
                source[i], target[i], middle[i] = share.source, share.target, share.middle
            grid = self._update("share", share_prompts, (), grid, *self._put([source, target, middle]))
        return grid

    def narrow(self, grid: Grid, narrowing: Narrowing) -> Grid:
        """The rows still at work, in a grid of as many groups as one of `tail_prompts`."""
        groups = len(narrowing.moves.group)
        layout = self._layouts[groups]
        return self.programs.call(
            ("narrow", grid.sample.shape[0], groups),
            narrow_grid,
            grid,
            self._put(narrowing.moves),
            out_shardings=layout,
        )

    def decode(self, grid: Grid) -> tuple[Grid, "Pending"]:
        """Starts one chunk. Consumes the grid."""
        groups = grid.sample.shape[0]
        out_shardings = None
        if self._partitioner is not None:
            out_shardings = (self._layouts[groups], self._partitioner.replicated)
        function = functools.partial(decode_chunk, self._fixed, self._config.chunk_steps)
        arguments = (self._weights, self._prefix, self._tables, grid)
        grid, events = self.programs.call(
            ("decode", groups), function, *arguments, donate=3, out_shardings=out_shardings
        )
        return grid, Pending(events)

    def bucket(self, job: Job) -> int:
        """The length that a job's prompt is padded to."""
        return next(bucket for bucket in self.buckets if bucket >= len(job.tokens))

    def _empty(self, groups: int) -> Grid:
        c, model = self._config, self._fixed.config
        by_slots = lies_by_slots(model, c.cache_dtype, self.platform)
        return empty_grid(
            model, groups, c.rows_per_prompt, self.buckets[-1], c.max_new_tokens, c.cache_dtype, by_slots
        )

    def _update(self, name: Any, function: Callable, before: tuple, grid: Grid, *after: Any) -> Grid:
        return self.programs.call(
            name, function, *before, grid, *after, donate=len(before), out_shardings=self._whole_layout
        )

    def _layout_of(self, groups: int) -> Grid | None:
        if self._partitioner is None:
            return None
        shapes = jax.eval_shape(functools.partial(self._empty, groups))
        return grid_shardings(self._partitioner, shapes)

    def _put(self, tree: Any) -> Any:
        """Host arrays to the device, whole on each."""
        if self._partitioner is None:
            return jax.device_put(tree)
        return hosts.place(tree, self._partitioner.replicated)


class Pending:
    """The events of a chunk, [k, G, R] each, on their way to the host."""

    def __init__(self, events: Events):
        self._events = events
        for x in events:
            x.copy_to_host_async()

    def is_ready(self) -> bool:
        """Whether the device has them."""
        return all(x.is_ready() for x in self._events)  # type: ignore[attr-defined]

    def get(self) -> Events:
        """Waits for them."""
        return Events(*jax.device_get(tuple(self._events)))


def _bytes(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _item_hash(item_id: str) -> np.ndarray:
    """64 bits of an item's id, [2] uint32; surrogates are allowed."""
    digest = hashlib.sha256(item_id.encode("utf-8", "surrogatepass")).digest()
    return np.frombuffer(digest[:8], "<u4")
