"""What a grid has done with attempts whose lengths are known: so that a resumed list of requests goes on in its bits.

Where an attempt sits in the grid, when it starts and what is loaded beside it follow from the requests and from the
lengths of the attempts before it, and decide how its sums round. A run that was killed knows these lengths from its
records. The host plays them through without a device up to the first request that has to be sampled; what is in the
grid by then is computed again from the moment when the oldest of it came in, a few hundred steps before.

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
    """Jobs that came into the grid together, before the chunk of this number; see `Engine.load`."""

    chunk: int
    placed: list[tuple[Job, int]]
    each: int


class Remembered:
    """Stands for a device that samples attempts of known lengths, and remembers what would bring it where it is.

    Attributes:
      chunks: decoded so far.
    """

    def __init__(self, groups: int, rows: int, steps: int):
        self.chunks, self._steps = 0, steps
        self._sample = np.full((groups, rows), IDLE, np.int32)
        self._age = np.zeros((groups, rows), np.int32)
        self._next, self._end = np.zeros(groups, np.int32), np.zeros(groups, np.int32)
        self._first = np.zeros(groups, np.int32)  # sample of the first known length
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
        """One chunk; tokens and log-probabilities of its events are zeros."""
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
        """From which chunk on to repeat what was done, so that a grid holds the same; and the loads since."""
        came: dict[int, int] = {}
        for load in self._loads:
            came |= dict.fromkeys((group for _, group in load.placed), load.chunk)
        busy = [came[group] for group in came if self._is_busy(group)]
        first = min(busy, default=self.chunks)
        self._loads = [load for load in self._loads if load.chunk >= first]
        return first, list(self._loads)

    def agrees(self, sample: np.ndarray, age: np.ndarray) -> bool:
        """Whether rows that hold these attempts, [G, R], are what this knows."""
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
