"""Forking a sandboxed child, watching what it uses from outside, and seeing how it ended.

CPU seconds are read from the child's own process clock, so a limit is exact whatever the machine's load,
holds inside a long C call, and cannot be disarmed from within. The wall clock only ends what sleeps: time in which
the child used the CPU at all, however little beside others, does not count, up to a generous end.
"""

import os
import select
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from verifier.sandbox import confine
from verifier.worker.area import Area, Progress

HEARTBEAT_S = 1.0
LOOK_S = 0.5  # how long a child is watched before it counts as asleep,
ASLEEP = 0.002  # and the share of a CPU below which it does; a starved one still gets more
WALL_ENDS = 4  # wall limits after which a child ends though it is busy: it may only pretend to be


class Ended(NamedTuple):
    """How a child ended.

    item: the item it was at when it ended, None if between items.
    how: "exit" (status 0), "cpu_limit" or "wall_limit" (we killed it), "setup" (it never began), or else what
        happened, as "signal 11" or "exit status 3".
    cpu_s, peak_kb: of the whole child, as the kernel counts.
    """

    item: int | None
    how: str
    cpu_s: float
    peak_kb: int


class Watched(NamedTuple):
    """What one child may use: CPU seconds for each item, seconds asleep for any, address space."""

    cpu_s: dict[int, float]
    wall_s: float
    memory_mb: int
    alone: int | None = None  # the only item, whose program may forge what the child says of its progress


class Nursery:
    """Runs one child at a time. `heartbeat` is called about once a second.

    `parent` is a descriptor of ours that hangs up when the parent dies, upon which everything ends.
    """

    def __init__(self, jail: confine.Jail, heartbeat: Callable[[], None], parent: int):
        self._jail, self._heartbeat, self._parent = jail, heartbeat, parent

    def run(self, body: Callable[[Area], None], area: Area, watched: Watched) -> Ended:
        """Forks a child that runs `body` on the area, and waits for its end."""
        return self.run_opening(lambda: partial(body, area), area, watched)

    def run_opening(
        self, opening: Callable[[], Callable[[], None]], area: Area | Progress, watched: Watched
    ) -> Ended:
        """Forks a child that opens what it needs, is shut in, and runs what `opening` returned."""
        child = os.fork()
        if child == 0:
            _live(self._jail, opening, watched)
        how = self._watch(child, area, watched)
        _, status, usage = os.wait4(child, 0)
        self._jail.sweep(child)
        item = area.in_progress()[0]
        if how == "":
            how = _describe_status(status)
            if how != "exit" and area.is_untouched():
                how = "setup"
        return Ended(item if item >= 0 else None, how, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)

    def _watch(self, child: int, area: Area | Progress, watched: Watched) -> str:
        """Returns when the child is dead or dying: "" if by itself, else the limit it met."""
        handle = os.pidfd_open(child)
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        poller.register(self._parent, 0)  # only hang-ups
        seen, since = None, time.monotonic()
        beat, wait_s = since, min(watched.cpu_s.values(), default=1.0)
        looked, looked_cpu_s, asleep_s = since, 0.0, 0.0
        try:
            while True:
                ready = [descriptor for descriptor, _ in poller.poll(1000 * min(wait_s, HEARTBEAT_S) + 1)]
                if handle in ready:
                    return ""
                if self._parent in ready:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    os._exit(0)
                now = time.monotonic()
                if now - beat >= HEARTBEAT_S:
                    self._heartbeat()
                    beat = now
                at = area.in_progress() if watched.alone is None else (watched.alone, 0.0)
                item, began_cpu_s = at
                cpu_s = process_cpu_s(child)
                if at != seen:
                    seen, since, asleep_s = at, now, 0.0
                    looked, looked_cpu_s = now, cpu_s
                if now - looked >= LOOK_S:
                    if cpu_s - looked_cpu_s < ASLEEP * (now - looked):
                        asleep_s += now - looked
                    looked, looked_cpu_s = now, cpu_s
                limit_s = watched.cpu_s.get(item, float("inf"))
                used_s = cpu_s - began_cpu_s
                overdue = asleep_s > watched.wall_s or now - since > WALL_ENDS * watched.wall_s
                how = "cpu_limit" if used_s > limit_s else "wall_limit" if overdue else ""
                if how:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    return how
                wait_s = min(max(limit_s - used_s, 0.002), HEARTBEAT_S)
        finally:
            os.close(handle)


def _live(jail: confine.Jail, opening: Callable[[], Callable[[], None]], watched: Watched) -> None:
    """The child's whole life. Never returns."""
    status = 1
    try:
        body = opening()
        confine.enter(jail, sum(watched.cpu_s.values()), watched.memory_mb)
        body()
        status = 0
    finally:
        os._exit(status)


def process_cpu_s(process: int) -> float:
    """CPU seconds used so far by another process (its CPUCLOCK_SCHED clock); 0 if it is gone."""
    try:
        return time.clock_gettime((~process << 3) | 2)
    except OSError:
        return 0.0


def _describe_status(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return "exit"
    return f"exit status {code}" if code > 0 else f"signal {-code}"
