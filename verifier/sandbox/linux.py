"""The few system calls Python does not offer, through ctypes. Linux only."""

import contextlib
import ctypes
import os
import signal

_libc = ctypes.CDLL(None, use_errno=True)
_prctl = _libc.prctl
_prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_sbrk = _libc.sbrk
_sbrk.argtypes, _sbrk.restype = [ctypes.c_long], ctypes.c_void_p

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of glibc's mallopt

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 4, 22, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38


def prctl(option: int, first: int = 0, second: int = 0) -> None:
    """Raises OSError."""
    if _prctl(option, first, second, 0, 0) != 0:
        raise_errno("prctl")


def syscall(number: int, *arguments: object) -> int:
    """A raw system call; integers go as 64 bits, other arguments as ctypes passes them. Raises OSError."""
    converted = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = _syscall(ctypes.c_long(number), *converted)
    if result < 0:
        raise_errno(f"system call {number}")
    return result


def call(name: str, *arguments: object) -> int:
    """A function of the C library that returns -1 on failure. Raises OSError."""
    result = getattr(_libc, name)(*arguments)
    if result < 0:
        raise_errno(name)
    return result


def raise_errno(what: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")


def die_with_parent(parent: int) -> None:
    """SIGKILL to this process when `parent`, its parent, dies; at once if it is gone already."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def show_memory_asked_for() -> None:
    """From here on `heap_top` shows all that malloc gave, freed or not: it is on the heap, which never shrinks."""
    with contextlib.suppress(AttributeError):  # not glibc
        _libc.mallopt(_M_MMAP_MAX, 0)
        _libc.mallopt(_M_TRIM_THRESHOLD, -1)


def heap_top() -> int:
    """The address at which the heap ends."""
    return int(_sbrk(0) or 0)
