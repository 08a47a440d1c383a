"""What stages report to. One for a process, as its devices, its compilations and its wall clock are one.

Anything may ask for the `current()` recorder and say what it does; where no run is observed, that costs as little and
leaves nothing behind. With one (`observed`), host 0 writes

    RUN/metrics.jsonl   a line for each logged training step, each shard sampled or judged, each compilation
    RUN/events          the same for TensorBoard: one of its runs for each stage directory
    RUN/goodput.json    where the wall time went (goodput.py)
    RUN/profile         a trace, where asked for (capture.py)

and every host watches itself: RUN/stuck-<host>.txt (watchdog.py). All of it depends on clocks: no stage reads it, and
nobody compares it between runs.
"""

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from t5x_selfprog import hosts
from t5x_selfprog.telemetry import goodput
from t5x_selfprog.telemetry.capture import Capture, Profile
from t5x_selfprog.telemetry.clock import Clock
from t5x_selfprog.telemetry.compiles import Compilation, compiles
from t5x_selfprog.telemetry.sinks import EVERY_S, Events, Lines
from t5x_selfprog.telemetry.watchdog import MAIN, Watch, Watchdog
from verifier import files

Scalars = Mapping[str, float | int | None]


class Recorder:
    """Takes what is reported and knows who is doing what. The base class keeps time and writes nothing.

    Attributes:
      clock: of the thread that runs the stages.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.compiles = compiles()
        self.compiles.listen(self._of_compiler)

    # Reporting: cheap, and the same everywhere.

    def part(self, name: str) -> contextlib.AbstractContextManager[None]:
        """The block's time is this part of the wall time (clock.PARTS)."""
        return self.clock.part(name)

    @contextlib.contextmanager
    def stage(self, path: str) -> Iterator[None]:
        """The main thread works on what goes to this directory."""
        yield

    @contextlib.contextmanager
    def track(self, name: str, path: str = "", *, waits: bool = False) -> Iterator[None]:
        """Something beside the main thread works on that, and shows it by beats; see watchdog.Track."""
        yield

    def beat(self, what: str, number: int | None = None, track: str = MAIN) -> None:
        """Something moved."""

    def step(self, what: str, number: int, ready: Any) -> None:
        """A device step of the main thread's stage was started; `ready` are its results."""

    def record(self, kind: str, path: str, step: int, scalars: Scalars, **labels: Any) -> None:
        """Scalars of one step or shard of the stage that writes to `path`."""

    def lost(self, steps: int, seconds: float) -> None:
        """Training steps that an earlier life made and this one makes again."""

    def committed(self) -> None:
        """All that was sampled so far is on disk."""

    def waited(self, path: str, sampling_s: float, waited_s: float) -> None:
        """Judging went on for so long after the last shard was sampled."""

    def flush(self) -> dict[str, Any]:
        """Writes what is known; returns the figures of goodput.json, or nothing."""
        return {}

    def close(self) -> None:
        self.compiles.unlisten(self._of_compiler)

    def _of_compiler(self, what: str, about: Any) -> None:
        if what == "begin":
            self.clock.begin("compile")
        elif what == "end":
            self.clock.end("compile")


class RunRecorder(Recorder):
    """Of a run directory."""

    def __init__(self, root: str, watchdog: Watchdog, profile: Profile, *, keep_goodput: bool):
        super().__init__()
        self._root, self._keep_goodput = root, keep_goodput
        self._place = ""
        self._lock = threading.RLock()  # verdicts are reported beside the sampler's thread
        self._lines: Lines | None = None
        self._events: dict[str, Events] = {}
        self._earlier = goodput.read(root) if keep_goodput and hosts.is_first() else goodput.Account()
        self._life = goodput.Account(lives=1, devices=jax.device_count())
        self._committed = self.clock.read()
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

    def lost(self, steps: int, seconds: float) -> None:
        self._life.lost_steps += steps
        # An earlier life counted them as useful, and takes as much back.
        of = self._earlier.stages.get(self.clock.stage_name, {})
        taken = min(seconds, of.get("train", 0.0))
        if taken:
            of["train"] -= taken
            of["lost"] = of.get("lost", 0.0) + taken

    def committed(self) -> None:
        self._committed = self.clock.read()

    def waited(self, path: str, sampling_s: float, waited_s: float) -> None:
        place = self._named(path)
        found = self._life.waits.setdefault(place, {"sampling_s": 0.0, "waited_s": 0.0})
        found["sampling_s"] += sampling_s
        found["waited_s"] += waited_s

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

    def _beat_place(self) -> None:
        track = self._watch.tracks.get(MAIN)
        if track is not None:
            track.place = self._place
        self.beat("began" if self._place else "between stages")

    def _named(self, path: str) -> str:
        """A directory's path inside the run's."""
        if files.is_remote(path):
            return path.removeprefix(self._root).strip("/")
        inside = os.path.relpath(path, self._root)
        return os.path.basename(inside) if inside.startswith("..") else inside

    def _line(self, kind: str, place: str, rest: Mapping[str, Any]) -> None:
        if self._lines is None:  # not before there is something to say: an unused directory stays empty
            self._lines = Lines(files.join(self._root, "metrics.jsonl"))
        found = re.fullmatch(r"iter_(\d+)/(.*)", place)
        about = {
            "time": round(time.time(), 3),
            "wall_s": round(time.monotonic() - self.clock.started, 3),
            "kind": kind,
            "stage": found[2] if found else place,
            "iteration": int(found[1]) if found else None,
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
    """The recorder of the run that is observed; one that only keeps time where none is."""
    if _current:
        return _current[-1]
    if not _default:
        _default.append(Recorder())
    return _default[0]


@contextlib.contextmanager
def observed(
    root: str, watchdog: Watchdog, profile: Profile, *, keep_goodput: bool = True
) -> Iterator[RunRecorder]:
    """Observes what the block does in this run directory.

    keep_goodput: adds its time to RUN/goodput.json. Only `run` does: stages run by hand may run side by side.
    """
    recorder = RunRecorder(root, watchdog, profile, keep_goodput=keep_goodput)
    _current.append(recorder)
    try:
        yield recorder
    finally:
        _current.remove(recorder)
        recorder.close()
