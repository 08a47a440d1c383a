"""Wall time cut into parts without gap or overlap: every second belongs to the innermost part that is open.

So the parts of a run sum to its wall time, whatever nests in what: a step that compiles is "compile" while it does and
"train" before and after.
"""

import contextlib
import threading
import time
from collections.abc import Iterator

# Steps that the run is made of. Training runs ahead of its device, so the host's work on batches is hidden in "train".
USEFUL = ("train", "prefill", "decode", "heldout")
# What else there is: tracing, compiling, reading compiled programs; models and state read and placed; checkpoints
# written; waiting for the verdicts of what was sampled; judging puzzles before anybody solves them; waiting for other
# hosts; and everything else that the host does while devices are idle. "lost" is useful work that a kill undid.
PARTS = (*USEFUL, "compile", "load", "save", "verdicts", "screen", "hosts", "host", "lost")


class Clock:
    """The wall time of one thread, the one that makes this; calls from others count nothing.

    Attributes:
      started: when, on the monotonic clock.
      stage_name: under which seconds are counted now.
    """

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._lock = threading.Lock()  # another thread may read
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
        """The block's time, but for what is `part` of something else inside it."""
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
        """Seconds in the block are counted under this name."""
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

    def move(self, seconds: float, source: str, target: str) -> None:
        """Says afterwards that some seconds of the current stage were another part's."""
        if threading.get_ident() == self._thread:
            self._turn()
            taken = min(seconds, self._seconds.get((self.stage_name, source), 0.0))
            self._add(source, -taken)
            self._add(target, taken)

    def seconds(self, *parts: str) -> float:
        """Spent in these parts so far."""
        return sum(of.get(part, 0.0) for of in self.read().values() for part in parts)

    def read(self) -> dict[str, dict[str, float]]:
        """Seconds by stage and part up to now. They sum to the time since this clock was made."""
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

    def _add(self, part: str, seconds: float) -> None:
        with self._lock:
            self._seconds[self.stage_name, part] = self._spent((self.stage_name, part)) + seconds
