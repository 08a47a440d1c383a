"""The last steps of a child before it runs a program: close, limit and give up what it inherited."""

import os
import resource
from collections.abc import Callable
from typing import NamedTuple

from verifier.sandbox import linux

NOBODY = 65534
# User ids from here to 0x7fffffff are unassigned (systemd, "Users, Groups, UIDs and GIDs"); process ids have 22 bits.
FIRST_USER = 0x70000000


class Jail(NamedTuple):
    """What every child of a worker gets.

    load_filter: the seccomp filter's loader, None where there is none.
    root: descriptor of an empty folder to be shut in, for root without namespaces; else None.
    leave_shared: leaves the System V objects of others behind; None where that is impossible or unnecessary.
    """

    parent: int  # process id, as its children see it
    null: int  # descriptor of /dev/null
    drop_user: bool  # the worker runs as the real root: become a user that no other process has
    sweep: Callable[[int], None]  # kills what a child left behind, see sweep.py
    load_filter: Callable[[], None] | None = None
    root: int | None = None
    leave_shared: Callable[[], None] | None = None


def enter(jail: Jail, cpu_s: float, memory_mb: int) -> None:
    """Gives up everything but memory and the CPU. Raises OSError if any of it fails; then nothing may run."""
    linux.die_with_parent(jail.parent)
    os.setsid()
    if jail.root is not None:
        os.fchdir(jail.root)
        os.chroot(".")
    for descriptor in (0, 1, 2):
        os.dup2(jail.null, descriptor)
    os.closerange(3, 1 << 16)
    set_limits(cpu_s, memory_mb)
    if jail.leave_shared is not None:
        jail.leave_shared()
    if jail.drop_user:
        become_nobody(os.getpid())
        linux.die_with_parent(jail.parent)  # changing the user clears it
    linux.prctl(linux.PR_SET_DUMPABLE, 0)
    if jail.load_filter is not None:
        jail.load_filter()


def open_empty_folder() -> int | None:
    """A deleted folder: it is empty, and nothing can be made in it.

    None where there is no place for one, or where root may not be shut in (some containers).
    """
    for place in ("/run", "/tmp", "/var/tmp", "/dev/shm"):
        path = f"{place}/verifier-{os.getpid()}"
        try:
            os.mkdir(path, 0o500)
        except OSError:
            continue
        try:
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        finally:
            os.rmdir(path)
        return folder if _may_be_shut_in(folder) else None
    return None


def _may_be_shut_in(folder: int) -> bool:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.fchdir(folder)
            os.chroot(".")
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


def become_nobody(process: int) -> None:
    """Root becomes a user that owns nothing and that no other process has.

    A program that may send signals then has no other process to send them to: as the one user `nobody`, it could kill
    the workers of every pool on the host. Nor does it find what another left in the kernel for its user (keys). Where
    only the usual 65,536 users exist, as in some containers, it does become `nobody`.
    """
    os.setgroups([])
    user = FIRST_USER + process
    try:
        os.setresgid(user, user, user)
    except OSError:  # EINVAL: no such user in this user namespace
        user = NOBODY
        os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def set_limits(cpu_s: float, memory_mb: int) -> None:
    """The kernel's own limits. CPU, in whole seconds, is only a safety net for the worker's exact limit.

    For a batch it is no more than the host allows.
    """
    hard_s = resource.getrlimit(resource.RLIMIT_CPU)[1]
    seconds = int(cpu_s) + 2 if hard_s == resource.RLIM_INFINITY else min(int(cpu_s) + 2, hard_s)
    limits = [
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, _within_hard(resource.RLIMIT_AS, memory_mb << 20)),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),  # not even for 0 to 2, once they are closed
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ]
    for which, value in limits:
        resource.setrlimit(which, (value, value))


def _within_hard(which: int, value: int) -> int:
    """A limit with room for a request may exceed the host's (host_limits.py has checked the limit itself)."""
    hard = resource.getrlimit(which)[1]
    return value if hard == resource.RLIM_INFINITY else min(value, hard)
