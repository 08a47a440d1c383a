"""Reports a run that is stuck: which stage, which step or shard, on which host, for how long, and where in the code.

A thread periodically checks when each track of its process last made progress. It cannot end a hanging call, only the
whole process. On many hosts, look at the one that hung first: the others are waiting for it.
"""

import dataclasses
import faulthandler
import sys
import tempfile
import threading
import time
from collections.abc import Callable

from t5x_selfprog import hosts
from verifier.errors import UserError
from verifier.storage import files

EXIT_STATUS = 75  # EX_TEMPFAIL: launchers restart on every status but 0 and 2
MAIN = "main"
WRITE_S = 60.0


@dataclasses.dataclass(frozen=True)
class Watchdog:
    """When a run counts as stuck, and what happens then.

    Attributes:
      stuck_after_s: seconds without a training step, decoding chunk or verdict; 0 means never.
      abort: whether to end the process, with a status on which launchers restart it, instead of only reporting.
        A compilation is never ended.
    """

    stuck_after_s: float = 1800.0
    abort: bool = False

    def __post_init__(self):
        if self.stuck_after_s < 0:
            raise UserError(f"Watchdog.stuck_after_s={self.stuck_after_s}: give seconds, or 0 for never.")


@dataclasses.dataclass
class Track:
    """What one thread of the run did last.

    Attributes:
      place: the stage's directory.
      what, number: the last sign of progress, for instance "step" 12.
      at: its time, on the monotonic clock.
      waits: whether it waits for the other tracks and so is stuck only if they are.
      told: whether the present standstill has been reported.
    """

    at: float
    place: str = ""
    what: str = "started"
    number: int | None = None
    waits: bool = False
    told: bool = False

    def __str__(self) -> str:
        number = "" if self.number is None else f" {self.number}"
        return f"{self.place or 'the run'}, after: {self.what}{number}"


class Watch:
    """The watching thread. Working threads call `beat`, which costs less than a microsecond.

    Args:
      in_progress: returns the programs being compiled, each with its seconds so far.
    """

    def __init__(self, config: Watchdog, root: str, in_progress: Callable[[], list[tuple[str, float]]]):
        self._config, self._root, self._in_progress = config, root, in_progress
        self.tracks: dict[str, Track] = {}
        self._reports: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watchdog", daemon=True)

    def start(self) -> None:
        self.begin(MAIN)
        if self._config.stuck_after_s:
            self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def begin(self, track: str, place: str = "", *, waits: bool = False) -> None:
        """From now on this track must show progress."""
        self.tracks[track] = Track(time.monotonic(), place, waits=waits)

    def end(self, track: str) -> None:
        self.tracks.pop(track, None)

    def beat(self, track: str, what: str, number: int | None = None) -> None:
        found = self.tracks.get(track)
        if found is not None:
            found.what, found.number, found.at, found.told = what, number, time.monotonic(), False

    def _look(self) -> None:
        limit = self._config.stuck_after_s
        while not self._over.wait(min(limit / 4, 10.0)):
            tracks = list(self.tracks.items())
            newest = max((track.at for _, track in tracks), default=0.0)
            for name, track in tracks:
                still = time.monotonic() - (newest if track.waits else track.at)
                if still > limit and not track.told:
                    track.told = True
                    self._report(name, track, still)

    def _report(self, name: str, track: Track, still: float) -> None:
        host = hosts.index()
        compiling = self._in_progress() if name == MAIN else []
        if compiling:
            function, seconds = compiling[0]
            head = (
                f"watchdog: host {host} is compiling {function} for {seconds:.0f} s now ({track}); it is not stuck "
                "unless this never ends."
            )
        else:
            head = f"watchdog: host {host} is stuck: nothing for {still:.0f} s in {track} (track {name})."
        at = time.strftime("%Y-%m-%d %H:%M:%S %Z")
        self._reports.append(f"{at} {head}\n{_stacks()}")
        print(self._reports[-1], file=sys.stderr, flush=True)
        path, text = files.join(self._root, f"stuck-{host}.txt"), "\n".join(self._reports)
        # A store that fails or never answers may be the cause; it must not keep the process from ending.
        write = threading.Thread(
            target=files.write_atomic, args=(path, text), name="stuck report", daemon=True
        )
        write.start()
        write.join(WRITE_S)
        if self._config.abort and not compiling:
            hosts.leave(EXIT_STATUS)


def _stacks() -> str:
    """The stacks of all threads, as written by faulthandler, which needs a real file."""
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file=file, all_threads=True)
        file.seek(0)
        return file.read().decode(errors="replace")
