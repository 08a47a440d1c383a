"""The seccomp filter of the children: a short list of system calls for a process that only computes.

Everything else (files, sockets, processes, threads, signals, tracing, mounts, timers) fails with EPERM,
which a program sees as PermissionError; killing it instead would explain less.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Callable

from verifier.sandbox import linux

# AUDIT_ARCH_*, then the numbers of the allowed system calls.
_TABLES: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            "read": 0,
            "write": 1,
            "close": 3,
            "fstat": 5,
            "lseek": 8,
            "mmap": 9,
            "mprotect": 10,
            "munmap": 11,
            "brk": 12,
            "rt_sigprocmask": 14,
            "rt_sigreturn": 15,
            "sched_yield": 24,
            "mremap": 25,
            "madvise": 28,
            "getpid": 39,
            "exit": 60,
            "gettimeofday": 96,
            "getrusage": 98,
            "times": 100,
            "getuid": 102,
            "getgid": 104,
            "geteuid": 107,
            "getegid": 108,
            "getppid": 110,
            "sigaltstack": 131,
            "gettid": 186,
            "futex": 202,
            "restart_syscall": 219,
            "clock_gettime": 228,
            "clock_getres": 229,
            "exit_group": 231,
            "getrandom": 318,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "close": 57,
            "lseek": 62,
            "read": 63,
            "write": 64,
            "fstat": 80,
            "exit": 93,
            "exit_group": 94,
            "futex": 98,
            "clock_gettime": 113,
            "clock_getres": 114,
            "sched_yield": 124,
            "restart_syscall": 128,
            "sigaltstack": 132,
            "rt_sigprocmask": 135,
            "rt_sigreturn": 139,
            "times": 153,
            "getrusage": 165,
            "gettimeofday": 169,
            "getpid": 172,
            "getppid": 173,
            "getuid": 174,
            "geteuid": 175,
            "getgid": 176,
            "getegid": 177,
            "gettid": 178,
            "brk": 214,
            "munmap": 215,
            "mremap": 216,
            "mmap": 222,
            "mprotect": 226,
            "madvise": 233,
            "getrandom": 278,
        },
    ),
}

# Classic BPF over struct seccomp_data {int nr; u32 arch; u64 instruction_pointer; u64 args[6]}
_LOAD_WORD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06
_OFFSET_NUMBER, _OFFSET_ARCH = 0, 4
_ALLOW, _FAIL, _KILL_PROCESS = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x80000000
_MODE_FILTER = 2


def make_loader() -> Callable[[], None]:
    """A function that puts the calling process under the filter, for good. It raises OSError if it cannot.

    Raises OSError (ENOSYS) on a machine without a table above.
    """
    machine = os.uname().machine
    if machine not in _TABLES:
        raise OSError(errno.ENOSYS, f"no table of system calls for {machine}")
    instructions = _program(*_TABLES[machine])
    code = ctypes.create_string_buffer(instructions, len(instructions))
    # struct sock_fprog {unsigned short len; struct sock_filter *filter}, with native padding
    fprog = ctypes.create_string_buffer(struct.pack("@HP", len(instructions) // 8, ctypes.addressof(code)))
    address = ctypes.addressof(fprog)

    def load(keep: tuple = (code, fprog)) -> None:
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        linux.prctl(linux.PR_SET_SECCOMP, _MODE_FILTER, address)

    return load


def _program(architecture: int, numbers: dict[str, int]) -> bytes:
    """Kills on another architecture's calls, allows the numbers, refuses the rest (x32's have a high bit set)."""

    def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("<HBBI", code, if_true, if_false, value)

    count = len(numbers)
    lines = [
        instruction(_LOAD_WORD, _OFFSET_ARCH),
        instruction(_JUMP_EQUAL, architecture, 1, 0),
        instruction(_RETURN, _KILL_PROCESS),
        instruction(_LOAD_WORD, _OFFSET_NUMBER),
    ]
    # each comparison jumps over the remaining ones and the refusal to the permission
    lines += [instruction(_JUMP_EQUAL, n, count - i, 0) for i, n in enumerate(sorted(numbers.values()))]
    lines += [instruction(_RETURN, _FAIL), instruction(_RETURN, _ALLOW)]
    return b"".join(lines)
