"""Killing what a child may have left behind. Under seccomp it cannot leave anything, and nothing is done."""

import contextlib
import os
import signal


def nothing(child: int) -> None:
    """The child could not start anything."""


def group(child: int) -> None:
    """The child's process group, for it led its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(-child, signal.SIGKILL)
    _reap()


def namespace(child: int) -> None:
    """Everybody in our process namespace but its first process and ourselves, whom this signal spares."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(-1, signal.SIGKILL)
    _reap()


def orphans(child: int, spared: frozenset[int] = frozenset()) -> None:
    """The group, and whatever left the group: orphans come to us, the subreaper, and /proc tells who they are."""
    group(child)
    for process in children_of(os.getpid()) - spared:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)
    _reap()


def children_of(parent: int) -> set[int]:
    """By /proc; nobody where it cannot be read."""
    found = set()
    with contextlib.suppress(OSError):
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                if int(file.read().rpartition(")")[2].split()[1]) == parent:
                    found.add(int(name))
    return found


def _reap() -> None:
    """Bury those who are dead already; the others are buried next time."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
