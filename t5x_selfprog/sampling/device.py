"""The grid on the device as the sampler's loop drives it, and a chunk that runs while the host works."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from t5x_selfprog import hosts
from t5x_selfprog.sampling.decode import Events
from t5x_selfprog.sampling.engine import Engine, Pending
from t5x_selfprog.sampling.scheduler import Compaction, Job, Share
from t5x_selfprog.telemetry import recorder


class Device:
    """A grid with its programs; only `rows` waits for the device."""

    def __init__(self, engine: Engine, stage_key: np.ndarray, step: int = 0):
        """step: how many decoding steps count as done."""
        self._engine, self._stage_key = engine, stage_key
        self._grid = engine.empty(step)

    def load(self, placed: Sequence[tuple[Job, int]], each: int) -> None:
        self._grid = self._engine.load(self._grid, list(placed), each, self._stage_key)

    def share(self, shares: Sequence[Share]) -> None:
        self._grid = self._engine.share(self._grid, shares)

    def compact(self, compaction: Compaction) -> None:
        self._grid = self._engine.compact(self._grid, compaction)

    def decode(self) -> Pending:
        """Starts one chunk."""
        self._grid, pending = self._engine.decode(self._grid)
        return pending

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """The attempt in each row and its age, [G, R] each. Collective."""
        return hosts.whole(self._grid.sample), hosts.whole(self._grid.age)


class Chunk:
    """A chunk under way. Time until the device is done counts as decoding; time the host takes beyond that does not.

    Attributes:
      device_s: seconds counted as decoding.
    """

    def __init__(self, decode: Callable[[], Pending], compile_s: Callable[[], float]):
        """compile_s: seconds spent on compiling so far, which do not count."""
        self._part = recorder.current().part("decode")
        self._part.__enter__()
        self._start, self.device_s, self._open = time.perf_counter(), 0.0, True
        try:
            before = compile_s()
            self._pending = decode()
            self._start += compile_s() - before
        except BaseException:
            self.end()
            raise

    def look(self) -> None:
        """Checks whether the device is done; call it now and then during other work."""
        if self._open and self._pending.is_ready():
            self.end()

    def wait(self) -> Events:
        events = self._pending.get()
        self.end()
        return events

    def end(self) -> None:
        """Stops the clock, however the chunk ended; calling it again is harmless."""
        if self._open:
            self._open = False
            self.device_s = time.perf_counter() - self._start
            self._part.__exit__(None, None, None)
