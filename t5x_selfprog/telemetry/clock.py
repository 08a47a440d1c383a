"""Divides wall time into parts without gap or overlap: every second belongs to the innermost open part.

The parts of a run therefore sum to its wall time, however they nest: a step that compiles counts as "compile" while it
compiles and as "train" before and after.
"""

import contextlib
import threading
import time
from collections.abc import Iterator

# Device steps, which are a run's purpose. Training is dispatched ahead of its device, so the host's work on batches is
# hidden in "train".
USEFUL = ("train", "prefill", "decode", "heldout")
# The other parts: tracing, compiling and reading compiled programs; reading and placing models and state; writing
# checkpoints; waiting for verdicts on samples; judging puzzles before they are solved; waiting for other hosts; and
# everything else that the host does while devices are idle. "lost" is useful work that a kill undid.
PARTS = (*USEFUL, "compile", "load", "save", "verdicts", "screen", "hosts", "host", "lost")


class Clock:
    """The wall time of the thread that creates it; calls from other threads are ignored.

    Attributes:
      started: time of creation, on the monotonic clock.
      stage_name: the stage that seconds are counted under now.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._lock = threading.Lock()  # other threads may read
        self._open, self.stage_name = ["host"], ""
        self._since = self.started = time.monotonic()
        self._seconds: dict[tuple[str, str], float] = {}

    def begin(self, part: str) -> None:
        if threading.get_ident() == self._thread:
            self._turn()
            self._open.append(part)

    def end(self, part: str) -> None:
        """Closes the innermost part, if it is this one."""
        if threading.get_ident() == self._thread and self._open[-1] == part:
            self._turn()
            self._open.pop()

    @contextlib.contextmanager
    def part(self, part: str) -> Iterator[None]:
        """Counts the block's time as `part`, except for parts opened inside it."""
        depth = len(self._open)
        self.begin(part)
        try:
            yield
        finally:
            if threading.get_ident() == self._thread:
                self._turn()
                del self._open[max(depth, 1) :]

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Counts the block's seconds under this name."""
        if threading.get_ident() != self._thread:
            yield
            return
        self._turn()
        before, self.stage_name = self.stage_name, name
        try:
            yield
        finally:
            self._turn()
            self.stage_name = before

    def seconds(self, *parts: str) -> float:
        """Seconds spent in these parts so far, over all stages."""
        return sum(of.get(part, 0.0) for of in self.read().values() for part in parts)

    def read(self) -> dict[str, dict[str, float]]:
        """Seconds by stage and part up to now. They sum to the time since the clock was created."""
        with self._lock:
            current = (self.stage_name, self._open[-1])
            running = time.monotonic() - self._since
            found: dict[str, dict[str, float]] = {}
            for (stage, part), seconds in {**self._seconds, current: self._spent(current) + running}.items():
                found.setdefault(stage, {})[part] = seconds
        return found

    def _spent(self, key: tuple[str, str]) -> float:
        return self._seconds.get(key, 0.0)

    def _turn(self) -> None:
        with self._lock:
            now = time.monotonic()
            key = (self.stage_name, self._open[-1])
            self._seconds[key] = self._spent(key) + now - self._since
            self._since = now
