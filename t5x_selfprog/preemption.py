"""Being told to go: SIGTERM ends a run in good order, with a status on which launchers start it again.

`listening` is the run's ear. Sampling, screening and judging ask `check` between chunks, shards and verdicts and stop
where they are: what a stage has not committed it makes again. Training would lose the steps since its last checkpoint,
so it asks its `notice` at every step and saves first. A main thread that waits for the device or for another host hears
nothing, so a thread of the ear's own does, by the wakeup descriptor of Python's signals; where nobody has gone within
`PATIENCE_S`, it ends the process.

On several hosts what one is told all are told, through JAX's coordination service, and what ends one ends all: the
status of a mistake that host 0 finds is everybody's. All train: then they agree on the step after which to save. JAX
has a service for that, but its handler swallows the signal where nobody trains.
"""

import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from t5x_selfprog import hosts

EXIT_STATUS = 128 + signal.SIGTERM  # what a shell says of a process that SIGTERM ended
PATIENCE_S = 10.0  # from being told until the process ends itself, outside of training
NOWHERE = -1  # the place of a host that does not train


class Preempted(SystemExit):
    """Everything is saved; the same command goes on."""

    def __init__(self) -> None:
        super().__init__(EXIT_STATUS)


class Notice:
    """Whether it is time to go; of one process, and what it knows of the others.

    Attributes:
      told: somebody was told, here or elsewhere.
    """

    def __init__(self) -> None:
        self.told = False
        self._lock = threading.Lock()
        self._step = NOWHERE  # the last one that this process has trained, while it trains
        self._stop_after: int | None = None
        self._patience = threading.Timer(PATIENCE_S, leave_late)
        self._patience.daemon = True

    def tell(self) -> None:
        """Told here. Not from a signal's handler, which must not wait for a lock."""
        self.told = True
        if hosts.connected():
            hosts.post("told", str(hosts.place_among()[0]))
        else:
            self._agree()

    def hear(self) -> None:
        """Waits until any host was told. In a thread of its own, on several hosts."""
        hosts.await_post("told")
        self.told = True
        self._agree()

    def _agree(self) -> None:
        """All train: after which step all save. Somebody does not: all leave, and who is not quick is ended."""
        with self._lock:  # nobody ends a step, or training, meanwhile
            steps = [self._step]
            if hosts.connected():
                me, others = hosts.place_among()
                hosts.post(f"step/{me}", str(self._step))
                steps = [int(hosts.await_post(f"step/{host}")) for host in range(others)]
            if NOWHERE not in steps:
                self._stop_after = max(steps) + 1
            else:
                self._patience.start()  # ends nothing once it is cancelled

    def close(self) -> None:
        """Whoever listened has left the block in time. Takes no lock: somebody may hold it who waits for others."""
        self._patience.cancel()

    def reached(self, step: int) -> bool:
        """Asked after every step of training: whether to save and go. On several hosts true on all after the same."""
        with self._lock:
            self._step = step
            if not hosts.connected():
                return self.told
            return self._stop_after is not None and step >= self._stop_after

    @contextlib.contextmanager
    def training(self) -> Iterator["Notice"]:
        """The block trains: from its first step on nobody leaves it without a checkpoint."""
        if self.told:
            raise Preempted
        try:
            yield self
        finally:
            with self._lock:
                self._step = NOWHERE


_current: Notice | None = None


def check() -> None:
    """Raises Preempted where the process was told to go. Any thread, between any two pieces of work."""
    if _current is not None and _current.told:
        raise Preempted


@contextlib.contextmanager
def listening() -> Iterator[Notice]:
    """Hears SIGTERM, here or on another host, and how another host ended, while the block runs.

    In the main thread; where somebody listens already, or in another thread, that is all there is to hear.
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
    """The run's notice, for a block that trains; one of the block's own where nobody listens."""
    with listening() as found, found.training():
        yield found


def leave_late() -> None:
    print("selfprog: told to go, and still waiting for something: leaving without it", file=sys.stderr)
    hosts.leave(EXIT_STATUS)


def _heard(number: int, frame: FrameType | None) -> None:
    """As soon as the main thread has a moment; what is to be done about it, `_listen` does."""
    if _current is not None:
        _current.told = True


def _listen(ears: socket.socket, found: Notice) -> None:
    """Until the other end is closed. A process is told once: whoever insists sends SIGKILL."""
    with ears:
        while signals := ears.recv(16):
            if signal.SIGTERM in signals:
                found.tell()
                return
