"""The recorder that stages report to: one per process, like its devices, its compilations and its wall clock.

Any code may report to the `current()` recorder. Where no run is observed, a report costs as little and leaves no trace.
Inside `observed`, host 0 writes

    RUN/metrics.jsonl   a line for each logged training step, each shard sampled or judged, each compilation
    RUN/events          the same for TensorBoard: one of its runs for each stage directory
    Weights & Biases    the same, on request (weights_and_biases.py)
    RUN/goodput.json    where the wall time went (goodput.py)
    RUN/profile         a trace, on request (capture.py)

and every host watches itself: RUN/stuck-<host>.txt (watchdog.py). All of this depends on clocks, so no stage reads it
and nothing compares it between runs.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from t5x_selfprog import hosts
from t5x_selfprog.run_layout import iteration_number
from t5x_selfprog.telemetry import goodput
from t5x_selfprog.telemetry.capture import Capture, Profile
from t5x_selfprog.telemetry.clock import Clock
from t5x_selfprog.telemetry.compiles import Compilation, compiles
from t5x_selfprog.telemetry.sinks import EVERY_S, Events, Lines
from t5x_selfprog.telemetry.watchdog import MAIN, Watch, Watchdog
from t5x_selfprog.telemetry.weights_and_biases import Sink, Wandb
from verifier.storage import files

Scalars = Mapping[str, float | int | None]


class Recorder:
    """Receives reports. This base class keeps time and writes nothing.

    Attributes:
      clock: the wall time of the thread that runs the stages.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.compiles = compiles()
        self.compiles.listen(self._of_compiler)

    # Reporting: cheap, and the same everywhere.

    def part(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Counts the block's time as this part of the wall time (clock.PARTS)."""
        return self.clock.part(name)

    @contextlib.contextmanager
    def stage(self, path: str) -> Iterator[None]:
        """In the block, the main thread works on the stage that writes to this directory."""
        yield

    @contextlib.contextmanager
    def track(self, name: str, path: str = "", *, waits: bool = False) -> Iterator[None]:
        """In the block, another thread works on `path` and reports progress with `beat`; see watchdog.Track."""
        yield

    def beat(self, what: str, number: int | None = None, track: str = MAIN) -> None:
        """Something moved."""

    def step(self, what: str, number: int, ready: Any) -> None:
        """Reports that the main thread's stage has started a device step; `ready` are its results."""

    def record(self, kind: str, path: str, step: int, scalars: Scalars, **labels: Any) -> None:
        """Records scalars of one step or shard of the stage that writes to `path`."""

    def lost(self, steps: int, seconds: float) -> None:
        """Reports training steps of an earlier life that this one repeats."""

    def committed(self, sampled: Mapping[str, dict[str, float]]) -> None:
        """Reports that what was sampled until the clock read this is on disk. For any thread."""

    def waited(self, path: str, sampling_s: float, waited_s: float) -> None:
        """Reports how long judging continued after the last shard was sampled."""

    def conclude(self, figures: Mapping[str, float]) -> None:
        """Reports the run's final figures."""

    def flush(self) -> dict[str, Any]:
        """Writes everything known so far; returns the figures of goodput.json, or {}."""
        return {}

    def close(self) -> None:
        self.compiles.unlisten(self._of_compiler)

    def _of_compiler(self, what: str, about: Any) -> None:
        if what == "begin":
            self.clock.begin("compile")
        elif what == "end":
            self.clock.end("compile")


class RunRecorder(Recorder):
    """The recorder of a run directory."""

    def __init__(
        self, root: str, watchdog: Watchdog, profile: Profile, *, keep_goodput: bool, wandb: Wandb = Wandb()
    ):
        super().__init__()
        self._root, self._keep_goodput = root, keep_goodput
        self._place = ""
        self._lock = threading.RLock()  # another thread than the sampler's reports verdicts
        self._lines: Lines | None = None
        self._events: dict[str, Events] = {}
        self._elsewhere = Sink(wandb, root) if wandb.project and hosts.is_first() else None
        self._earlier = goodput.read(root) if keep_goodput and hosts.is_first() else goodput.Account()
        self._life = goodput.Account(lives=1, devices=jax.device_count())
        self._committed: Mapping[str, dict[str, float]] = self.clock.read()
        self._written = time.monotonic()
        self._every_s = EVERY_S if files.is_remote(root) else goodput.EVERY_S
        self._capture = Capture(profile, root, self.clock)
        self._watch = Watch(watchdog, root, self.compiles.in_progress)
        self._watch.start()

    @contextlib.contextmanager
    def stage(self, path: str) -> Iterator[None]:
        before, self._place = self._place, self._named(path)
        self._beat_place()
        try:
            yield
        finally:
            self._capture.finish()
            self._place = before
            self._beat_place()
            with self._lock:
                events = self._events.pop(self._named(path), None)
                if events is not None:
                    events.close()

    @contextlib.contextmanager
    def track(self, name: str, path: str = "", *, waits: bool = False) -> Iterator[None]:
        if name == MAIN:
            self._watch.tracks[MAIN].waits = waits
            try:
                yield
            finally:
                self._watch.begin(MAIN, self._place)
            return
        self._watch.begin(name, self._named(path) if path else self._place, waits=waits)
        try:
            yield
        finally:
            self._watch.end(name)

    def beat(self, what: str, number: int | None = None, track: str = MAIN) -> None:
        self._watch.beat(track, what, number)
        self.compiles.idle()
        if track == MAIN and time.monotonic() - self._written > self._every_s:
            self.flush()

    def step(self, what: str, number: int, ready: Any) -> None:
        self.beat(what, number)
        self._capture.tick(self._place, ready)

    def record(self, kind: str, path: str, step: int, scalars: Scalars, **labels: Any) -> None:
        if not hosts.is_first():
            return
        place = self._named(path)
        known = {name: value for name, value in scalars.items() if value is not None}
        with self._lock:
            self._line(kind, place, {"step" if kind == "train" else "shard": step} | labels | known)
            if place not in self._events:
                purge = step if kind == "train" else None
                self._events[place] = Events(files.join(self._root, "events", place), purge)
            self._events[place].write(step, known)
            if self._elsewhere is not None:
                self._elsewhere.write(place, step, known)

    def lost(self, steps: int, seconds: float) -> None:
        self._life.lost_steps += steps
        # The earlier life counted them as useful, so as much is taken back.
        of = self._earlier.stages.get(self.clock.stage_name, {})
        taken = min(seconds, of.get("train", 0.0))
        if taken:
            of["train"] -= taken
            of["lost"] = of.get("lost", 0.0) + taken

    def committed(self, sampled: Mapping[str, dict[str, float]]) -> None:
        self._committed = sampled

    def waited(self, path: str, sampling_s: float, waited_s: float) -> None:
        place = self._named(path)
        found = self._life.waits.setdefault(place, {"sampling_s": 0.0, "waited_s": 0.0})
        found["sampling_s"] += sampling_s
        found["waited_s"] += waited_s

    def conclude(self, figures: Mapping[str, float]) -> None:
        if self._elsewhere is not None:
            self._elsewhere.conclude(figures)

    def flush(self) -> dict[str, Any]:
        self._written = time.monotonic()
        if not hosts.is_first():
            return {}
        with self._lock:
            for events in self._events.values():
                events.flush()
            if self._lines is not None:
                self._lines.flush()
            self._life.stages = self.clock.read()
            self._life.uncommitted = {
                stage: {
                    part: max(0.0, of.get(part, 0.0) - self._committed.get(stage, {}).get(part, 0.0))
                    for part in goodput.SAMPLING
                }
                for stage, of in self._life.stages.items()
            }
            account = self._earlier.add(self._life)
            if self._keep_goodput:
                goodput.write(self._root, account)
            return account.figures()

    def close(self) -> None:
        super().close()
        self._watch.stop()
        self._capture.finish()
        self.flush()
        with self._lock:
            for events in self._events.values():
                events.close()
            if self._lines is not None:
                self._lines.close()
            if self._elsewhere is not None:
                self._elsewhere.close()

    def _beat_place(self) -> None:
        track = self._watch.tracks.get(MAIN)
        if track is not None:
            track.place = self._place
        self.beat("began" if self._place else "between stages")

    def _named(self, path: str) -> str:
        """A directory's path relative to the run's."""
        if files.is_remote(path):
            return path.removeprefix(self._root).strip("/")
        inside = os.path.relpath(path, self._root)
        return os.path.basename(inside) if inside.startswith("..") else inside

    def _line(self, kind: str, place: str, rest: Mapping[str, Any]) -> None:
        if self._lines is None:  # created on first use, so that an unused directory stays empty
            self._lines = Lines(files.join(self._root, "metrics.jsonl"))
        first, _, rest_of_place = place.partition("/")
        iteration = iteration_number(first) if rest_of_place else None
        about = {
            "time": round(time.time(), 3),
            "wall_s": round(time.monotonic() - self.clock.started, 3),
            "kind": kind,
            "stage": place if iteration is None else rest_of_place,
            "iteration": iteration,
        }
        self._lines.write(about | {n: round(v, 6) if isinstance(v, float) else v for n, v in rest.items()})

    def _of_compiler(self, what: str, about: Any) -> None:
        super()._of_compiler(what, about)
        if isinstance(about, Compilation):
            with self._lock:
                found = self._life.programs.setdefault(
                    about.program, dict.fromkeys(("times", "seconds", "cached"), 0)
                )
                found["times"] += 1
                found["seconds"] += about.seconds
                found["cached"] += about.cached
                if hosts.is_first():
                    rest = {name: value for name, value in vars(about).items() if value != ""}
                    self._line("compile", self._place, rest)


_default: list[Recorder] = []
_current: list[RunRecorder] = []


def current() -> Recorder:
    """The recorder of the observed run; without one, a recorder that only keeps time."""
    if _current:
        return _current[-1]
    if not _default:
        _default.append(Recorder())
    return _default[0]


@contextlib.contextmanager
def observed(
    root: str, watchdog: Watchdog, profile: Profile, *, keep_goodput: bool = True, wandb: Wandb = Wandb()
) -> Iterator[RunRecorder]:
    """Observes what the block does in this run directory.

    Args:
      keep_goodput: adds its time to RUN/goodput.json. Only `run` does; stages run by hand may run side by side.
    """
    recorder = RunRecorder(root, watchdog, profile, keep_goodput=keep_goodput, wandb=wandb)
    _current.append(recorder)
    try:
        yield recorder
    finally:
        _current.remove(recorder)
        recorder.close()
