"""The device's side of sampling: weights, the prefix, and the programs that act on a grid."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from t5x_selfprog import hosts, machine
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.network import Params
from t5x_selfprog.sampling.blueprint import SHARES, Blueprint, no_prompts, tree_bytes
from t5x_selfprog.sampling.decode import Events
from t5x_selfprog.sampling.grid import Grid
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.prefill import Prefix
from t5x_selfprog.sampling.programs import REMEDY, Programs
from t5x_selfprog.sampling.scheduler import Compaction, Job, Share
from t5x_selfprog.sampling.stop import StopTables
from t5x_selfprog.sampling.weights import prepare


class Engine:
    """One model on one mesh, with one prefix.

    Attributes:
      plan: its programs.
      programs: those of them that have been compiled.
    """

    def __init__(
        self,
        plan: Blueprint,
        model: ModelConfig,
        params: Params,
        config: SamplingConfig,
        tables: StopTables,
        prefix_tokens: Sequence[int],
    ):
        self.plan, self._partitioner = plan, plan.partitioner
        self._groups = config.prompts_in_flight
        with machine.naming_memory(f"casting weights to {config.weights_dtype}", REMEDY):
            self._weights = prepare(model, params, config.weights_dtype, self._partitioner)
        holds = (
            f"weights {machine.gib(tree_bytes(self._weights))}, caches {machine.gib(plan.grid_bytes())} for "
            f"{config.prompts_in_flight} prompts x {config.rows_per_prompt} rows, on all devices together"
        )
        self.programs = Programs(plan.key, holds)
        self._tables = self._put(tables)
        self._prefix: Prefix | None = None
        if prefix_tokens:
            tokens = self._put(np.asarray(prefix_tokens, np.int32))
            self._prefix = self.programs.call(plan.prefix(self._weights, tokens))

    def empty(self, step: int = 0) -> Grid:
        """An idle grid that counts `step` decoding steps as done."""
        grid = self.programs.call(self.plan.empty())
        return dataclasses.replace(grid, step=self._put(np.int32(step))) if step else grid

    def load(self, grid: Grid, placed: list[tuple[Job, int]], each: int, stage_key: np.ndarray) -> Grid:
        """Computes the prompts of jobs that share a bucket, each for its idle group. Consumes the grid.

        Args:
          placed: jobs with their groups, at most `each` per part of the grid; every part computes `each` prompts.
        """
        bucket, groups = self.bucket(placed[0][0]), self._groups // self.plan.parts
        placement = no_prompts(self.plan.parts * each, bucket)
        taken = [0] * self.plan.parts
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
        layout = self.plan.whole
        there = placement if layout is None else hosts.place(placement, layout.prompt_length)
        key = self._put(stage_key)
        return self.programs.call(self.plan.load(self._weights, self._prefix, key, grid, there))

    def share(self, grid: Grid, shares: Sequence[Share]) -> Grid:
        """Carries out shares; a share's source may be the target of an earlier one. Consumes the grid."""
        groups = grid.sample.shape[0]
        for begin in range(0, len(shares), SHARES):
            some = shares[begin : begin + SHARES]
            # Places without a share copy nothing: their targets, all distinct, lie beyond the last group.
            source, target = np.zeros(SHARES, np.int32), groups + np.arange(SHARES, dtype=np.int32)
            middle = np.zeros(SHARES, np.int32)
            for i, share in enumerate(some):
                source[i], target[i], middle[i] = share.source, share.target, share.middle
            grid = self.programs.call(self.plan.share(grid, self._put([source, target, middle])))
        return grid

    def compact(self, grid: Grid, compaction: Compaction) -> Grid:
        """The rows still at work, in a smaller grid (one of the blueprint's `tails`)."""
        return self.programs.call(self.plan.compact(grid, self._put(compaction.moves)))

    def decode(self, grid: Grid) -> tuple[Grid, "Pending"]:
        """Starts one chunk. Consumes the grid."""
        program = self.plan.decode(self._weights, self._prefix, self._tables, grid)
        grid, events = self.programs.call(program)
        return grid, Pending(events)

    def bucket(self, job: Job) -> int:
        """The length that a job's prompt is padded to."""
        return next(bucket for bucket in self.plan.buckets if bucket >= len(job.tokens))

    def _put(self, tree: Any) -> Any:
        """Copies host arrays to the devices, whole to each."""
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
        """Whether the device has computed them."""
        return all(x.is_ready() for x in self._events)  # type: ignore[attr-defined]

    def get(self) -> Events:
        """Waits for them."""
        return Events(*jax.device_get(tuple(self._events)))


def _item_hash(item_id: str) -> np.ndarray:
    """A 64-bit hash of an item's id, [2] uint32; surrogates are allowed."""
    digest = hashlib.sha256(item_id.encode("utf-8", "surrogatepass")).digest()
    return np.frombuffer(digest[:8], "<u4")
