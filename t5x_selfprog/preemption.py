"""Preemption: SIGTERM ends a run in good order, with an exit status on which launchers restart it.

`listening` installs the handler. Sampling, screening and judging call `check` between chunks, shards and verdicts and
stop where they are: a stage makes again what it has not committed. Training would lose the steps since its last
checkpoint, so it asks its `notice` at every step and saves first. A main thread that waits for the device or for
another host runs no handlers, so a separate thread hears the signal through the wakeup descriptor of Python's signals;
if the process has not stopped within `PATIENCE_S`, it ends the process.

On several hosts, a signal to one reaches all through JAX's coordination service, and the end of one ends all, with the
same status. If all are training, they agree on the step after which to save. JAX has a service for that, but its
handler swallows the signal while nobody trains.
"""

import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from t5x_selfprog import hosts

EXIT_STATUS = 128 + signal.SIGTERM  # a shell's status for a process that SIGTERM ended
PATIENCE_S = 10.0  # from the signal until the process ends itself, outside of training
NOWHERE = -1  # the step of a host that does not train


class Preempted(SystemExit):
    """The run stops with everything saved; the same command continues it."""

    def __init__(self) -> None:
        super().__init__(EXIT_STATUS)


class Notice:
    """Whether this process must stop, and what it knows of the others.

    Attributes:
      told: whether any host received SIGTERM.
    """

    def __init__(self) -> None:
        self.told = False
        self._lock = threading.Lock()
        self._step = NOWHERE  # the last step done, while this process trains
        self._stop_after: int | None = None
        self._patience = threading.Timer(PATIENCE_S, leave_late)
        self._patience.daemon = True

    def tell(self) -> None:
        """Reports a signal to this host. Not for signal handlers, which must not wait for a lock."""
        self.told = True
        if hosts.connected():
            hosts.post("told", str(hosts.place_among()[0]))
        else:
            self._agree()

    def hear(self) -> None:
        """Waits until any host is told. On several hosts, runs in its own thread."""
        hosts.await_post("told")
        self.told = True
        self._agree()

    def _agree(self) -> None:
        """If all hosts train, sets the step after which all save; otherwise starts the timer that ends the process."""
        with self._lock:  # no step or training ends meanwhile
            steps = [self._step]
            if hosts.connected():
                me, others = hosts.place_among()
                hosts.post(f"step/{me}", str(self._step))
                steps = [int(hosts.await_post(f"step/{host}")) for host in range(others)]
            if NOWHERE not in steps:
                self._stop_after = max(steps) + 1
            else:
                self._patience.start()  # has no effect once it is cancelled

    def close(self) -> None:
        """Cancels the timer: the block was left in time. Takes no lock, whose holder may be waiting for other hosts."""
        self._patience.cancel()

    def reached(self, step: int) -> bool:
        """Whether to save and stop; asked after every training step. Turns true after the same step on all hosts."""
        with self._lock:
            self._step = step
            if not hosts.connected():
                return self.told
            return self._stop_after is not None and step >= self._stop_after

    @contextlib.contextmanager
    def training(self) -> Iterator["Notice"]:
        """The block trains: once it has made a step, it is not left without a checkpoint."""
        if self.told:
            raise Preempted
        try:
            yield self
        finally:
            with self._lock:
                self._step = NOWHERE


_current: Notice | None = None


def check() -> None:
    """Raises Preempted if the process was told to stop. For any thread, between any two pieces of work."""
    if _current is not None and _current.told:
        raise Preempted


@contextlib.contextmanager
def listening() -> Iterator[Notice]:
    """While the block runs, hears SIGTERM here or on another host, and the end of another host.

    Only the main thread can listen, and only once: otherwise yields the notice of whoever listens, or a silent one.
    """
    global _current
    if _current is not None or threading.current_thread() is not threading.main_thread():
        yield _current or Notice()
        return
    found = _current = Notice()
    ears, mouth = socket.socketpair()
    mouth.setblocking(False)
    before = signal.signal(signal.SIGTERM, _heard)
    woken = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    threads = [threading.Thread(target=_listen, args=(ears, found), name="sigterm", daemon=True)]
    if hosts.connected():
        threads += [threading.Thread(target=found.hear, name="told", daemon=True)]
        threads += [threading.Thread(target=hosts.follow_the_end, name="end", daemon=True)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGTERM, before)
        mouth.close()
        found.close()
        _current = None


@contextlib.contextmanager
def notice() -> Iterator[Notice]:
    """The run's notice for a block that trains, which listens itself if nobody does yet."""
    with listening() as found, found.training():
        yield found


def leave_late() -> None:
    print("selfprog: told to go, and still waiting for something: leaving without it", file=sys.stderr)
    hosts.leave(EXIT_STATUS)


def _heard(number: int, frame: FrameType | None) -> None:
    """Python calls this once the main thread is free; `_listen` does the rest."""
    if _current is not None:
        _current.told = True


def _listen(ears: socket.socket, found: Notice) -> None:
    """Waits for SIGTERM until the other end is closed. Only the first one counts; to insist, send SIGKILL."""
    with ears:
        while signals := ears.recv(16):
            if signal.SIGTERM in signals:
                found.tell()
                return
