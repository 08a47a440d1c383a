"""Namespaces: a world with no other processes, no network and one empty, read-only folder.

The worker has imported all it needs, so its root can be an empty file system: there is nothing to bind
into it and nothing to clean up. Works as root and, where the host allows user namespaces, as any user.
"""

import contextlib
import os
import signal

from verifier.sandbox import linux
from verifier.sandbox.confine import become_nobody

_NEWNS, _NEWCGROUP, _NEWUTS, _NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
_NEWUSER, _NEWPID, _NEWNET = 0x10000000, 0x20000000, 0x40000000
_ALL_BUT_USER = _NEWNS | _NEWCGROUP | _NEWUTS | _NEWIPC | _NEWPID | _NEWNET

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_REC, _MS_PRIVATE = 1 << 14, 1 << 18
_MNT_DETACH = 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522


def enter() -> None:
    """Moves into new namespaces of every kind; returns in a new process, number 1 of its own world.

    The calling process stays outside, waits for that one, and ends when it does; either dies with the
    other. Both give up all capabilities, and root becomes nobody. Raises OSError, in the calling process
    or (rarely) in the new one, which must then not be used.
    """
    if os.geteuid() == 0:
        become_nobody(os.getpid())
        linux.prctl(linux.PR_SET_DUMPABLE, 1)  # else /proc/self/uid_map belongs to root
    identity = os.geteuid(), os.getegid()
    linux.call("unshare", _NEWUSER | _ALL_BUT_USER)
    _map_identity(*identity)
    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # so that sigtimedwait sees it
    inside = os.fork()
    if inside:
        _wait_outside(inside, parent)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
    _empty_root()
    drop_capabilities()


def leave_shared_objects() -> None:
    """Gets System V memory, queues and semaphores of our own, which end with us. For root; raises OSError."""
    linux.call("unshare", _NEWIPC)


def _map_identity(user: int, group: int) -> None:
    """We stay the same user inside as outside; no other exists there."""
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _wait_outside(inside: int, parent: int) -> None:
    """The rest of the outer process's life: holds nothing, waits for the inner one, ends it if our parent is gone."""
    os.closerange(0, 1 << 16)
    with contextlib.suppress(OSError):
        drop_capabilities()
    while True:
        signal.sigtimedwait({signal.SIGCHLD}, 2.0)
        ended, status = os.waitpid(inside, os.WNOHANG)
        if ended:
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
        if os.getppid() != parent:
            os._exit(1)  # and PDEATHSIG ends the inner process


def _empty_root() -> None:
    place = next(folder for folder in ("/tmp", "/run", "/mnt", "/dev") if os.path.isdir(folder)).encode()
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    linux.call("mount", None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    linux.call("mount", b"tmpfs", place, b"tmpfs", flags, b"size=4k,nr_inodes=2,mode=555")
    os.chdir(place)
    linux.syscall(_PIVOT_ROOT[os.uname().machine], b".", b".")  # the old root now lies over the new one
    linux.call("umount2", b".", _MNT_DETACH)
    os.chdir("/")
    linux.call("mount", None, b"/", None, _MS_REMOUNT | _MS_RDONLY | flags, None)


def drop_capabilities() -> None:
    """Drops all of them, from every set, for good: there is no exec to bring any back."""
    import ctypes
    import struct

    for capability in range(64):
        try:
            linux.prctl(linux.PR_CAPBSET_DROP, capability)
        except OSError:  # EINVAL: past the last one this kernel knows; EPERM: there is none to drop
            break
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    empty = ctypes.create_string_buffer(24)
    linux.syscall(_CAPSET[os.uname().machine], header, empty)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
