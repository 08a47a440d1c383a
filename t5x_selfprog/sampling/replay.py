"""Replays the grid's work on attempts of known lengths, so that a resumed list of requests continues bit for bit.

Where an attempt sits in the grid, when it starts and what is loaded beside it follow from the requests and from the
lengths of the attempts before it, and decide how its sums round. A killed run knows these lengths from its records. The
host replays them without a device up to the first request that must be sampled; the device then recomputes the grid's
contents from the chunk in which the oldest of them was loaded, a few hundred steps earlier.

Plain NumPy. It follows the rules of `decode.decode_step`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from t5x_selfprog.sampling import stop
from t5x_selfprog.sampling.decode import Events
from t5x_selfprog.sampling.grid import IDLE
from t5x_selfprog.sampling.scheduler import Job

FORGET_EVERY = 256  # chunks


@dataclasses.dataclass(frozen=True)
class Load:
    """Jobs that were loaded together, before the chunk of this number; see `Engine.load`."""

    chunk: int
    placed: list[tuple[Job, int]]
    each: int


class Remembered:
    """Stands in for a device that samples attempts of known lengths; remembers the loads that lead to its state.

    Attributes:
      chunks: chunks decoded so far.
    """

    def __init__(self, groups: int, rows: int, steps: int):
        self.chunks, self._steps = 0, steps
        self._sample = np.full((groups, rows), IDLE, np.int32)
        self._age = np.zeros((groups, rows), np.int32)
        self._next, self._end = np.zeros(groups, np.int32), np.zeros(groups, np.int32)
        self._first = np.zeros(groups, np.int32)  # the sample index of the first known length
        self._lengths: list[np.ndarray] = [np.zeros(0, np.int32)] * groups
        self._loads: list[Load] = []

    def load(self, placed: Sequence[tuple[Job, int]], each: int) -> None:
        """The jobs' lengths must be known."""
        self._loads.append(Load(self.chunks, list(placed), each))
        for job, group in placed:
            assert job.lengths is not None
            self._lengths[group], self._first[group] = job.lengths, job.first_sample
            self._next[group], self._end[group] = job.first_sample, job.end_sample

    def decode(self) -> Events:
        """One chunk; its events' tokens and log-probabilities are zeros."""
        samples, reasons = [], []
        table = self._table()
        groups = np.arange(len(self._next))[:, None]
        for _ in range(self._steps):
            idle = self._sample == IDLE
            candidate = self._next[:, None] + np.cumsum(idle, axis=1, dtype=np.int32) - 1
            starts = idle & (candidate < self._end[:, None])
            self._next += starts.sum(axis=1, dtype=np.int32)
            self._sample = np.where(starts, candidate, self._sample)
            self._age = np.where(starts, 0, self._age) + 1
            live = self._sample != IDLE
            place = np.where(live, self._sample - self._first[:, None], 0)
            ends = live & (self._age >= table[groups, place])
            samples.append(self._sample)
            reasons.append(np.where(ends, stop.LENGTH, 0).astype(np.int32))
            self._sample = np.where(ends, IDLE, self._sample).astype(np.int32)
        self.chunks += 1
        if self.chunks % FORGET_EVERY == 0:
            self.since()
        nothing = np.zeros((self._steps, *self._sample.shape), np.int32)
        fields: tuple[Any, ...] = (np.stack(samples), nothing, nothing.astype(np.float32), np.stack(reasons))
        return Events(*fields)

    def since(self) -> tuple[int, list[Load]]:
        """The chunk from which a device must repeat the work to hold the same grid, and the loads since."""
        came: dict[int, int] = {}
        for load in self._loads:
            came |= dict.fromkeys((group for _, group in load.placed), load.chunk)
        busy = [came[group] for group in came if self._is_busy(group)]
        first = min(busy, default=self.chunks)
        self._loads = [load for load in self._loads if load.chunk >= first]
        return first, list(self._loads)

    def agrees(self, sample: np.ndarray, age: np.ndarray) -> bool:
        """Whether a device's attempts and ages, [G, R] each, equal these."""
        live = self._sample != IDLE
        return bool(((sample == self._sample) & (~live | (age == self._age))).all())

    def _is_busy(self, group: int) -> bool:
        return bool(self._next[group] < self._end[group] or (self._sample[group] != IDLE).any())

    def _table(self) -> np.ndarray:
        """Known lengths, [G, most attempts of a group]."""
        most = max(1, *map(len, self._lengths))
        table = np.ones((len(self._lengths), most), np.int32)
        for group, lengths in enumerate(self._lengths):
            table[group, : len(lengths)] = lengths
        return table
