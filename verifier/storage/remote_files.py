"""Files in a bucket (`gs://bucket/x`), through fsspec: retries trouble that may pass, reports the rest plainly.

Rests on three promises of object stores: an upload shows only once it is whole; what was written is what everybody
reads next; a file can be created on condition that there is none. They do not promise that an answer arrives. So
everything here may be carried out twice with the effect of once: uploads replace the file with the same bytes,
removing what is gone is no error, and a creation that finds its own content there was the one that made it.

fsspec and the driver of the scheme (gcsfs for gs://) are imported at the first use.
Left out: caches of listings (other hosts write too), appending, renames.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import importlib
import io
import itertools
import logging
import os
import random
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, TypeVar

from verifier.errors import UserError

T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How long an operation is retried. Drivers retry too: gcsfs six times in half a minute, on each of our tries.

    Attributes:
      tries: of one operation, the first included.
      first_wait_s, longest_wait_s: the wait doubles from one to the other, less up to half of it at random, so
        that many hosts do not come back together.
      total_s: no further try after this long.
    """

    tries: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 16.0
    total_s: float = 600.0

    def wait_s(self, attempt: int) -> float:
        return min(self.longest_wait_s, self.first_wait_s * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)


PATIENCE = Patience()
# Files up to this size are read into memory, larger ones into a temporary file.
IN_MEMORY_BYTES = 64 << 20

# Schemes without folders: names merely contain slashes. gcsfs would make a bucket for a missing folder.
_FLAT = frozenset({"gs", "gcs", "s3", "s3a", "az", "abfs", "abfss", "memory"})

_TRANSIENT_ERRNO = frozenset(
    {
        errno.EAGAIN, errno.ECONNABORTED, errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.EINTR,
        errno.ENETDOWN, errno.ENETUNREACH, errno.EPIPE, errno.ETIMEDOUT,
    }
)  # fmt: skip
_TRANSIENT_STATUS = frozenset({408, 425, 429, *range(500, 600)})
# The HTTP libraries under the drivers: what they raise without a status is a connection that broke.
_HTTP_LIBRARIES = frozenset({"aiohttp", "botocore", "requests", "urllib3"})


class BucketUnreachable(UserError):
    """An operation that kept failing for reasons that may pass. Whatever restarts failed runs may try once more."""

    EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h; 2 would say that a person is needed


class BucketForbidden(UserError):
    """An operation that the credentials do not allow."""


class NoBucket(UserError):
    """Something written to a bucket that does not exist."""


class _Short(OSError):
    """Fewer or more bytes than there should be."""


def open_read(path: str) -> IO[bytes]:
    """The whole file, fetched and its length checked before a byte of it is read. Raises FileNotFoundError."""

    def fetch(system: Any, inner: str) -> IO[bytes]:
        size = int(system.info(inner)["size"])
        if size <= IN_MEMORY_BYTES:
            data = system.cat_file(inner)
            _require_length(len(data), size)
            return io.BytesIO(data)
        descriptor, name = tempfile.mkstemp()
        os.close(descriptor)
        try:
            system.get_file(inner, name)
            _require_length(os.stat(name).st_size, size)
            return open(name, "rb")  # stays readable when its name is gone
        finally:
            with contextlib.suppress(FileNotFoundError):  # drivers tidy up after a failure too
                os.remove(name)

    return _persistently(path, "read", fetch)


def size(path: str) -> int:
    """Bytes in the file. Raises FileNotFoundError."""
    return _persistently(path, "look up", lambda system, inner: int(system.info(inner)["size"]))


def exists(path: str) -> bool:
    # Not fsspec's `exists`, for which a failing network is a missing file.
    try:
        _persistently(path, "look up", lambda system, inner: system.info(inner))
    except FileNotFoundError:
        return False
    return True


def listdir(path: str) -> list[str]:
    def names(system: Any, inner: str) -> list[str]:
        found = [entry.rstrip("/") for entry in system.ls(inner, detail=False)]
        # Some consoles leave an empty file in place of a folder, which is listed with the folder's content.
        return sorted(entry.rsplit("/", 1)[-1] for entry in found if entry != inner.rstrip("/"))

    try:
        return _persistently(path, "list", names)
    except FileNotFoundError:
        return []


def makedirs(path: str) -> None:
    if path.partition("://")[0] not in _FLAT:
        _persistently(path, "make", lambda system, inner: system.makedirs(inner, exist_ok=True))


def remove(path: str) -> None:
    """Raises FileNotFoundError."""
    _persistently(path, "remove", lambda system, inner: system.rm_file(inner))


def upload(path: str, local: str, length: int) -> None:
    """Replaces the file at `path` with the `length` bytes of a local one."""

    def put(system: Any, inner: str) -> None:
        system.put_file(local, inner)
        _check(system, inner, length)

    # A file of the wrong length, though the driver reported success, is overwritten by the next try, and must not
    # stay after the last one. Where an upload fails openly, what was there before still is, and stays.
    try:
        _written(path, "write", put)
    except BucketUnreachable as error:
        if isinstance(error.__cause__, _Short) and exists(path):
            remove(path)
        raise


def create_exclusive(path: str, data: bytes) -> bool:
    """Makes the file; False where it exists with another content. See `files.create_exclusive`."""

    def create(system: Any, inner: str) -> bool:
        try:
            system.pipe_file(inner, data, mode="create")
        except FileExistsError:
            # Perhaps by us: the driver itself retries when an answer is lost.
            try:
                return bool(system.cat_file(inner) == data)
            except FileNotFoundError:
                return False  # somebody made it and has removed it since
        try:
            _check(system, inner, len(data))
        except _Short:
            system.pipe_file(inner, data)  # it is ours: nobody else may write here now
            _check(system, inner, len(data))
        return True

    return _written(path, "create", create)


def _check(system: Any, inner: str, length: int) -> None:
    system.invalidate_cache()
    try:
        found = int(system.info(inner)["size"])
    except FileNotFoundError:
        raise _Short(f"written, and not there: {length} bytes") from None
    _require_length(found, length)


def _require_length(found: int, wanted: int) -> None:
    if found != wanted:
        raise _Short(f"{found} bytes instead of {wanted}")


def _written(path: str, operation: str, action: Callable[[Any, str], T]) -> T:
    try:
        return _persistently(path, operation, action)
    except FileNotFoundError as error:
        scheme, bucket = path.partition("://")[0], _bucket(path)
        make = (
            f"make it (`gcloud storage buckets create gs://{bucket}`)"
            if scheme in ("gs", "gcs")
            else "make it"
        )
        raise NoBucket(
            f"cannot {operation} {path}: there is no bucket {bucket!r}; {make}, or correct the path."
        ) from error


def _persistently(path: str, operation: str, action: Callable[[Any, str], T]) -> T:
    """What `action` returns, tried until it succeeds or fails for good.

    Raises BucketForbidden, BucketUnreachable, or whatever else `action` raises, above all FileNotFoundError.
    """
    began = time.monotonic()
    for attempt in itertools.count(1):
        try:
            system, inner = _system(path)
            system.invalidate_cache()
            return action(system, inner)
        except Exception as error:
            if _is_forbidden(error):
                raise BucketForbidden(_no_permission(path, operation, error)) from error
            if not _is_transient(error):
                raise
            spent = time.monotonic() - began
            if attempt >= PATIENCE.tries or spent >= PATIENCE.total_s:
                raise BucketUnreachable(
                    f"could not {operation} {path}: {attempt} tries in {spent:.0f} s, the last: {_said(error)}. "
                    "The same command goes on where this one stopped."
                ) from error
            wait_s = PATIENCE.wait_s(attempt)
            print(
                f"could not {operation} {path} ({_said(error)}); try {attempt + 1} of {PATIENCE.tries} "
                f"in {wait_s:.1f} s",
                file=sys.stderr,
                flush=True,
            )
            time.sleep(wait_s)
    raise AssertionError  # the loop above only returns or raises


def _system(path: str) -> tuple[Any, str]:
    """The fsspec file system of a path, and the path inside it."""
    scheme = path.partition("://")[0]
    try:
        fsspec = importlib.import_module("fsspec")
        if scheme in ("gs", "gcs"):
            _quiet_gcsfs()
        return fsspec.core.url_to_fs(path)
    except ImportError as error:
        extra = "pip install '.[gcs]'" if scheme in ("gs", "gcs") else "pip install it"
        raise UserError(f"{path}: {scheme}:// needs fsspec and its driver ({error}); {extra}.") from error
    except ValueError as error:
        raise UserError(f"{path}: no file system for {scheme}:// ({error})") from error


@functools.cache
def _quiet_gcsfs() -> None:
    """gcsfs logs every failed request with a traceback, even those it retries; we report each once."""
    logger = logging.getLogger("gcsfs")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


def _is_forbidden(error: BaseException) -> bool:
    if _status(error) in (401, 403) or isinstance(error, PermissionError):
        return True
    if type(error).__module__.startswith("google.auth"):
        return not getattr(error, "retryable", False)
    return isinstance(error, OSError) and str(error).startswith("Forbidden")  # gcsfs says 403 in words only


def _is_transient(error: BaseException) -> bool:
    if (status := _status(error)) is not None:
        return status in _TRANSIENT_STATUS
    if isinstance(error, _Short | TimeoutError | ConnectionError | socket.gaierror):
        return True
    if isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNO:
        return True
    kind = type(error)
    return (
        kind.__module__.partition(".")[0] in _HTTP_LIBRARIES | {"google"} or kind.__name__ == "ChecksumError"
    )


def _status(error: BaseException) -> int | None:
    """The HTTP status that a driver's error carries, under whatever name."""
    response = getattr(error, "response", None)
    for holder, name in ((error, "code"), (error, "status"), (response, "status_code")):
        value = getattr(holder, name, None)
        if str(value).isdigit() and 100 <= int(str(value)) < 600:
            return int(str(value))
    return None


def _no_permission(path: str, operation: str, error: BaseException) -> str:
    bucket = _bucket(path)
    said = f"cannot {operation} {path}: not permitted in bucket {bucket!r} ({_said(error)}). "
    if path.partition("://")[0] not in ("gs", "gcs"):
        return (
            said
            + "Give the credentials that fsspec's driver finds the right to read, write, list and delete."
        )
    return said + (
        "Log in with `gcloud auth application-default login`, or on a VM give its service account the scope "
        "cloud-platform; and give that account the roles: gcloud storage buckets add-iam-policy-binding "
        f"gs://{bucket} --member=MEMBER --role=roles/storage.objectAdmin, and again with "
        "--role=roles/storage.legacyBucketReader (Orbax asks what kind of bucket it is)."
    )


def _said(error: BaseException) -> str:
    lines = [line.strip()[:200] for line in str(error).splitlines() if line.strip()]
    status = _status(error)
    text = ": ".join(
        [type(error).__name__, *lines[:2]]
    )  # gcsfs has the request in the first, the reason in the second
    return text if status is None or str(status) in text else f"{text}, status {status}"


def _bucket(path: str) -> str:
    return path.partition("://")[2].partition("/")[0]
