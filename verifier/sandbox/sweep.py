"""Killing what a child may have left behind. Under seccomp it cannot leave anything, and nothing is done."""

import contextlib
import os
import signal


def nothing(child: int) -> None:
    """The child could not start anything."""


def group(child: int) -> None:
    """The child's process group, which it led."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(-child, signal.SIGKILL)
    _reap()


def namespace(child: int) -> None:
    """Every process in our namespace but its first one and ourselves, which this signal spares."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(-1, signal.SIGKILL)
    _reap()


def orphans(child: int, spared: frozenset[int] = frozenset()) -> None:
    """The group, and whatever left the group: orphans become ours, the subreaper's, and /proc lists them."""
    group(child)
    for process in children_of(os.getpid()) - spared:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)
    _reap()


def children_of(parent: int) -> set[int]:
    """From /proc; empty where that cannot be read."""
    found = set()
    with contextlib.suppress(OSError):
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                if int(file.read().rpartition(")")[2].split()[1]) == parent:
                    found.add(int(name))
    return found


def _reap() -> None:
    """Reaps the processes that are dead already; the others are reaped next time."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
