"""Being told to go: SIGTERM, or a notice of preemption, saves and ends with a status on which launchers start again.

Sampling and judging need no notice: what a stage has not committed it makes again. Training would lose the steps since
its last checkpoint.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator

import jax

from t5x_selfprog import hosts

EXIT_STATUS = 128 + signal.SIGTERM  # what a shell says of a process that SIGTERM ended


class Preempted(SystemExit):
    """Everything is saved; the same command goes on."""

    def __init__(self) -> None:
        super().__init__(EXIT_STATUS)


class Notice:
    """Whether it is time to go."""

    def __init__(self) -> None:
        self._told = threading.Event()

    def tell(self, *_: object) -> None:
        self._told.set()

    def reached(self, step: int) -> bool:
        """On several hosts: true on all at the same step, as soon as one of them was told. Ask at every step."""
        if hosts.count() > 1 and jax.distributed.is_initialized():
            from jax.experimental import multihost_utils

            return multihost_utils.reached_preemption_sync_point(step)
        return self._told.is_set()


@contextlib.contextmanager
def notice() -> Iterator[Notice]:
    """Listens for SIGTERM in the block. On several hosts JAX's own service listens, from when they connected."""
    found = Notice()
    if hosts.count() > 1 or threading.current_thread() is not threading.main_thread():
        yield found
        return
    before = signal.signal(signal.SIGTERM, found.tell)
    try:
        yield found
    finally:
        signal.signal(signal.SIGTERM, before)
