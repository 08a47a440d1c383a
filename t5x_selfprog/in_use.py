"""Only one process at a time does a piece of work in a folder: locks that vanish with whoever holds them.

A lock is the kernel's (`flock`) on a small file that names its holder. Killed in any way, a process loses its locks; a
file that it leaves behind means nothing. Folders in buckets, and on file systems without such locks, have none.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
from typing import IO, Any

from t5x_selfprog.run_layout import IN_USE
from verifier.errors import UserError
from verifier.storage import files

PATIENCE_S = 2.0  # a process that was killed a moment ago may still be ending


class InUse(UserError):
    """A folder in which another process is at the same work."""


@contextlib.contextmanager
def held(folder: files.Path, command: str, works: Iterable[str]) -> Iterator[None]:
    """In the block, nobody else does any of these works in the folder, which is made if it is missing.

    Args:
      command: what the others are told is going on.

    Raises InUse, naming the process that is at one of them.
    """
    with contextlib.ExitStack() as stack:
        if not files.is_remote(folder):
            files.makedirs(folder)
            for work in sorted(works):
                stack.enter_context(_held(os.fspath(folder), command, work))
        yield


@contextlib.contextmanager
def _held(folder: str, command: str, work: str) -> Iterator[None]:
    path = os.path.join(folder, IN_USE + work)
    file = _locked(path, folder)
    if file is None:
        yield
        return
    with file:  # closing it gives up the lock
        file.truncate(0)
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        about = {"command": command, "host": socket.gethostname(), "process": os.getpid(), "since": now}
        file.write(json.dumps(about).encode())
        file.flush()
        try:
            yield
        finally:
            if _is_at(file, path):
                files.remove(path)


def require_free(folder: files.Path, works: Iterable[str]) -> None:
    """Raises InUse where `held` would; writes nothing."""
    for work in () if files.is_remote(folder) else sorted(works):
        with contextlib.suppress(FileNotFoundError):
            file = _locked(os.path.join(folder, IN_USE + work), os.fspath(folder), "rb")
            if file is not None:
                file.close()


def _locked(path: str, folder: str, mode: str = "a+b") -> IO[bytes] | None:
    """The file at `path`, locked; None where the file system has no locks. Raises InUse."""
    until = time.monotonic() + PATIENCE_S
    while True:
        file = open(path, mode)  # noqa: SIM115 (the caller closes it)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                file.seek(0)
                holder = file.read()
            if time.monotonic() > until:
                raise InUse(_said(folder, holder)) from None
            time.sleep(0.1)
        except OSError:
            file.close()
            return None
        else:
            if _is_at(file, path):
                return file
            file.close()  # its holder removed it between our two calls


def _is_at(file: IO[bytes], path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _said(folder: str, holder: bytes) -> str:
    try:
        about: dict[str, Any] = json.loads(holder)
        place = f"process {about['process']} on {about['host']}"
        who = f"`selfprog {about['command']}` has been at work there since {about['since']} ({place})"
        ending = f"end it (`kill {about['process']}` on {about['host']})"
    except (ValueError, KeyError):  # it has the lock and has not said yet who it is
        who, ending = "another process is at work there", "end it"
    return f"{folder} is in use: {who}. Wait until it has ended, {ending}, or work in another --run_dir."
