"""The few file operations everything on disk is built from.

A path is local, or has a scheme (`gs://bucket/x`, `memory://x`) and then goes through `remote_files`, which retries
what may succeed later. A file is never visible half written: local files are written under a temporary name in
the same folder, synced, and renamed; object stores show an upload only once it is whole.

Left out: appending and directory renames, because no stage needs them and object stores have neither.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator
from typing import IO, Any

from verifier.errors import UserError
from verifier.storage import remote_files

Path = str | os.PathLike[str]

TEMPORARY_SUFFIX = ".tmp"
# A temporary file nobody has written to for this long has lost its writer, whichever host that was.
STALE_TEMPORARY_S = 3600.0


def is_remote(path: Path) -> bool:
    return "://" in os.fspath(path)


def join(path: Path, *names: str) -> str:
    """As os.path.join; pathlib would fold the two slashes of a scheme into one."""
    return os.path.join(os.fspath(path), *names)


def absolute(path: Path) -> str:
    """As os.path.abspath; a path with a scheme is absolute."""
    return os.fspath(path) if is_remote(path) else os.path.abspath(path)


def require_local(path: Path, what: str, remedy: str) -> None:
    """Raises UserError for a path in a bucket, where `what` (a flag, as given) must be on this machine."""
    if is_remote(path):
        raise UserError(f"{what}: must be a folder of this machine, not in a bucket; {remedy}")


def require_place(path: str, flag: str, example: str) -> None:
    """Raises UserError where no file can be written, before the minutes after which one would be."""
    if is_remote(path):
        return
    place = pathlib.Path(path).absolute()
    there = next(folder for folder in place.parents if folder.exists())
    if place.is_dir():
        raise UserError(f"{flag}={path}: is a folder; name a file in it, such as {place / example}.")
    try:
        with tempfile.TemporaryFile(dir=there):  # permissions alone say little to root, and nothing of /proc
            pass
    except OSError as error:
        raise UserError(
            f"{flag}={path}: {there} is no folder that you can write to ({error.strerror}); give another place."
        ) from error


def open_read(path: Path) -> IO[bytes]:
    """Raises FileNotFoundError where there is no such file."""
    if is_remote(path):
        return remote_files.open_read(os.fspath(path))
    return open(path, "rb")


def read_bytes(path: Path) -> bytes:
    with open_read(path) as file:
        return file.read()


def read_json(path: Path) -> Any:
    """Raises FileNotFoundError where there is no such file, UserError where it does not hold JSON."""
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:
        raise UserError(
            f"{os.fspath(path)}: not JSON ({error}); restore it, or delete it and run the command that made it again"
        ) from error


def size(path: Path) -> int:
    """Bytes in the file. Raises FileNotFoundError where there is no such file."""
    if is_remote(path):
        return remote_files.size(os.fspath(path))
    return os.stat(path).st_size


def exists(path: Path) -> bool:
    if is_remote(path):
        return remote_files.exists(os.fspath(path))
    return os.path.exists(path)


def is_folder(path: Path) -> bool:
    """In a bucket, a folder exists if something is in it."""
    return bool(listdir(path)) if is_remote(path) else os.path.isdir(path)


def listdir(path: Path) -> list[str]:
    """Sorted names in a folder; an absent folder is empty, as it is in an object store."""
    if is_remote(path):
        return remote_files.listdir(os.fspath(path))
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []


def makedirs(path: Path) -> None:
    if is_remote(path):
        remote_files.makedirs(os.fspath(path))
    else:
        os.makedirs(path, exist_ok=True)


def remove(path: Path) -> None:
    """Removing what is already gone is no error: two hosts may tidy the same folder."""
    with contextlib.suppress(FileNotFoundError):
        if is_remote(path):
            remote_files.remove(os.fspath(path))
        else:
            os.remove(path)


def _temporary_name(path: str) -> str:
    """Says who writes it (host, process), so that `remove_leftovers` can tell the living from the dead."""
    folder, name = os.path.split(path)
    writer = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    return os.path.join(folder, f".{name}.{writer}{TEMPORARY_SUFFIX}")


def _sync_folder(folder: str) -> None:
    """A rename survives power loss only once its folder is synced."""
    descriptor = os.open(folder or ".", os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that appears under `path`, whole, when the block ends without an exception.

    Missing folders are made. On an exception nothing appears and the temporary file is removed.
    """
    target = os.fspath(path)
    if is_remote(target):
        with tempfile.NamedTemporaryFile() as spool:
            yield spool
            spool.flush()
            remote_files.upload(target, spool.name, os.stat(spool.name).st_size)
        return
    folder = os.path.dirname(target)
    os.makedirs(folder or ".", exist_ok=True)
    temporary = _temporary_name(target)
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        remove(temporary)
        raise
    _sync_folder(folder)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Replaces the file at `path` with `data` in one step; text is stored as UTF-8."""
    with open_atomic(path) as file:
        file.write(data.encode("utf-8") if isinstance(data, str) else data)


def write_json(path: Path, value: Any) -> None:
    write_atomic(path, json.dumps(value, indent=1) + "\n")


def create_exclusive(path: Path, data: bytes) -> bool:
    """Makes the file with all its content; False where it exists. At most one caller ever gets True.

    Locally by hard link, which NFS keeps atomic too; an O_EXCL open shows an empty file for a moment.
    In a bucket, reading makes up for a lost answer: whoever finds its `data` there made the file. Callers that must
    know who was first put something unique into `data`.
    """
    target = os.fspath(path)
    if is_remote(target):
        return remote_files.create_exclusive(target, data)
    temporary = _temporary_name(target)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, target)
    except FileExistsError:
        return False
    finally:
        remove(temporary)
    _sync_folder(os.path.dirname(target))
    return True


def remove_leftovers(folder: Path, *, everything: bool = False) -> list[str]:
    """Removes the temporary files that killed writers left in `folder`; returns their names.

    A temporary file of a living process of this host, or a recent one of another host, is being written and
    stays, unless `everything` says that nobody can still need one.
    """
    if is_remote(folder):
        return []
    removed = []
    for name in listdir(folder):
        if not (name.startswith(".") and name.endswith(TEMPORARY_SUFFIX)):
            continue
        path = os.path.join(os.fspath(folder), name)
        if everything or _is_abandoned(path):
            remove(path)
            removed.append(name)
    return removed


def _is_abandoned(path: str) -> bool:
    host_and_more, _, _ = os.path.basename(path).removesuffix(TEMPORARY_SUFFIX).rpartition("-")
    host_part, _, process = host_and_more.rpartition("-")
    if host_part.endswith("." + socket.gethostname()) and process.isdigit() and not _is_alive(int(process)):
        return True
    try:
        return time.time() - os.stat(path).st_mtime > STALE_TEMPORARY_S
    except FileNotFoundError:
        return False


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
