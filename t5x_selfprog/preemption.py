"""Preemption: on SIGTERM or a preemption notice, save and exit with a status on which launchers restart the run.

Sampling and judging need no notice, because a stage repeats whatever it has not committed. Training would lose the
steps since its last checkpoint.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator

import jax

from t5x_selfprog import hosts

EXIT_STATUS = 128 + signal.SIGTERM  # a shell's status for a process ended by SIGTERM


class Preempted(SystemExit):
    """The process was preempted; everything is saved, and the same command resumes."""

    def __init__(self) -> None:
        super().__init__(EXIT_STATUS)


class Notice:
    """Whether the process has been told to end."""

    def __init__(self) -> None:
        self._told = threading.Event()

    def tell(self, *_: object) -> None:
        self._told.set()

    def reached(self, step: int) -> bool:
        """Whether to stop at this step. On several hosts, true on all at the same step once any of them was told.

        Must be called at every step.
        """
        if hosts.count() > 1 and jax.distributed.is_initialized():
            from jax.experimental import multihost_utils

            return multihost_utils.reached_preemption_sync_point(step)
        return self._told.is_set()


@contextlib.contextmanager
def notice() -> Iterator[Notice]:
    """Listens for SIGTERM in the block. On several hosts JAX's own service listens, from the time they connect."""
    found = Notice()
    if hosts.count() > 1 or threading.current_thread() is not threading.main_thread():
        yield found
        return
    before = signal.signal(signal.SIGTERM, found.tell)
    try:
        yield found
    finally:
        signal.signal(signal.SIGTERM, before)
