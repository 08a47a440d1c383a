"""Profiles a window of a real run's steps: a trace for TensorBoard and Perfetto, and a table of operations.

The window counts the training steps or decoding chunks that this process has run in the stage. The first ones compile,
so leave them out. A stage that ends inside the window also ends the trace.
"""

import dataclasses
import os
import sys
import tempfile
from typing import Any

import jax

from t5x_selfprog import hosts, profile
from t5x_selfprog.telemetry.clock import Clock
from verifier.errors import UserError
from verifier.storage import files

SHOWN = 12  # operations listed on standard error; the file lists all


@dataclasses.dataclass(frozen=True)
class Profile:
    """Which steps to trace.

    Attributes:
      steps: the first step and the one after the last, counted from 0 in each stage; () traces nothing.
      stage: a part of the stage's path in the run directory, such as "6_checkpoints" or "iter_001/3_solutions".
      directory: where to write the trace; "" means RUN/profile.
    """

    steps: tuple[int, ...] = ()
    stage: str = "6_checkpoints"
    directory: str = ""

    def __post_init__(self):
        if self.steps and not (len(self.steps) == 2 and 0 <= self.steps[0] < self.steps[1]):
            raise UserError(f"Profile.steps={self.steps}: give the first step and the one after the last.")


class Capture:
    """The trace of one process (host 0): the first matching stage is traced, once."""

    def __init__(self, config: Profile, root: str, clock: Clock):
        self._config, self._clock = config, clock
        self._directory = config.directory or files.join(root, "profile")
        self._left = bool(config.steps)
        self._count = 0
        self._place = ""
        self._trace: tempfile.TemporaryDirectory | None = None

    def tick(self, place: str, ready: Any) -> None:
        """Called after each step of a stage. `ready`: its results, awaited where the trace begins and ends."""
        if not self._left or self._config.stage not in place or not hosts.is_first():
            return
        if place != self._place:
            self._place, self._count = place, 0
        self._count += 1
        first, end = self._config.steps
        if self._trace is None and self._count >= max(first, 1):
            # Ticks come after a step, so the trace begins before the next one; step 0 is never seen beforehand.
            jax.block_until_ready(ready)
            with self._clock.part("host"):
                self._trace = tempfile.TemporaryDirectory(prefix="selfprog-profile-")
                jax.profiler.start_trace(self._trace.name)
        elif self._trace is not None and self._count >= end:
            jax.block_until_ready(ready)
            self.finish()

    def finish(self) -> None:
        """Ends the trace, if one is running, and prints the slowest operations."""
        if self._trace is not None:
            with self._clock.part("host"):
                self._write(self._trace)

    def _write(self, trace: tempfile.TemporaryDirectory) -> None:
        jax.profiler.stop_trace()
        self._left, self._trace = False, None
        with trace as folder:
            for parent, _, names in os.walk(folder):
                for name in names:
                    path = os.path.join(parent, name)
                    with open(path, "rb") as file:
                        files.write_atomic(
                            files.join(self._directory, os.path.relpath(path, folder)), file.read()
                        )
            rows = profile.by_operation(folder)
        first, end = self._config.steps
        summary = {"stage": self._place, "steps": [first, end], "operations": rows}
        files.write_json(files.join(self._directory, "operations.json"), summary)
        lines = [f"{row['share']:7.1%} {row['calls']:>7} calls  {row['operation']}" for row in rows[:SHOWN]]
        head = f"profile: steps {first} to {end} of {self._place}, in {self._directory}:"
        print("\n".join([head, *lines]), file=sys.stderr, flush=True)
