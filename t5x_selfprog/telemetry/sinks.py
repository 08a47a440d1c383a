"""Where numbers are written: files of JSON lines (for programs) and TensorBoard events (for people), local or remote.

Object stores cannot append. There, the content is kept in memory, and the whole file is replaced every `EVERY_S`
seconds and at the end, so a kill loses at most that much. If the store cannot be reached, that is reported once per
file and tried again the next time: missing numbers never end a run.
"""

import io
import itertools
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

from verifier.storage import files
from verifier.storage.remote_files import BucketUnreachable
from verifier.storage.tfrecord import write_frames

EVERY_S = 60.0
_numbers = itertools.count()


class Growing:
    """A file that is appended to.

    Args:
      start: its existing content, which is kept.
    """

    def __init__(self, path: files.Path, start: bytes = b""):
        self._path, self._remote = path, files.is_remote(path)
        self._file: IO[bytes]
        if self._remote:
            self._file = io.BytesIO()
            self._file.write(start)
        else:  # `files` cannot append, and rewriting a long run's file for every line would be slow
            os.makedirs(os.path.dirname(os.fspath(path)) or ".", exist_ok=True)
            self._file = open(path, "ab", buffering=0)  # noqa: SIM115 (closed by `close`)
        self._uploaded = time.monotonic()
        self._changed = self._failed = False

    def append(self, data: bytes) -> None:
        self._file.write(data)  # one system call, so that two processes may write to the same file
        self._changed = True
        if self._remote and time.monotonic() - self._uploaded > EVERY_S:
            self.flush()

    def flush(self) -> None:
        if self._remote and self._changed:
            assert isinstance(self._file, io.BytesIO)
            self._uploaded = time.monotonic()
            try:
                files.write_atomic(self._path, self._file.getvalue())
            except BucketUnreachable as error:
                if not self._failed:
                    print(f"{error} The run goes on; its numbers are kept and tried again.", file=sys.stderr)
                self._failed = True
            else:
                self._changed = self._failed = False

    def close(self) -> None:
        self.flush()
        self._file.close()


class Lines:
    """JSON objects, one per line, after those of earlier processes that `keep` accepts.

    Attributes:
      dropped: the lines that `keep` rejects.
    """

    def __init__(self, path: files.Path, keep: Callable[[dict[str, Any]], bool] | None = None):
        self.dropped: list[dict[str, Any]] = []
        whole, cut = _whole_lines(path)
        kept = []
        for line in whole:
            if keep is None or keep(json.loads(line)):
                kept.append(line)
            else:
                self.dropped.append(json.loads(line))
        if self.dropped or cut:  # a line appended to a truncated one would be unreadable
            files.write_atomic(path, b"".join(kept))
        self._file = Growing(path, b"".join(kept))

    def write(self, line: Mapping[str, Any]) -> None:
        self._file.append((json.dumps(line) + "\n").encode())

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def read_lines(path: files.Path) -> list[dict[str, Any]]:
    """What `Lines` wrote ([] if there is no file), without a last line that a kill truncated."""
    return [json.loads(line) for line in _whole_lines(path)[0]]


def _whole_lines(path: files.Path) -> tuple[list[bytes], bytes]:
    """The complete lines, and what follows the last of them."""
    try:
        *lines, rest = files.read_bytes(path).split(b"\n")
    except FileNotFoundError:
        return [], b""
    return [line + b"\n" for line in lines], rest


class Events:
    """Scalars for TensorBoard: a new events file in a folder, beside those of earlier processes.

    Args:
      purge_step: tells TensorBoard to discard what earlier processes wrote from this step on, which is repeated.
    """

    def __init__(self, folder: files.Path, purge_step: int | None = None):
        from tensorboardX.proto import event_pb2, summary_pb2

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        # TensorBoard's naming convention; the suffix after the host separates files started within one second.
        about = f"{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        name = f"events.out.tfevents.{time.time():.0f}.{about}"
        self._file = Growing(files.join(folder, name))
        self._add(file_version="brain.Event:2")
        if purge_step is not None:
            self._add(step=purge_step, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        values = [self._summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        self._add(step=step, summary=self._summary(value=values))

    def flush(self) -> None:
        self._file.flush()

    def _add(self, **fields: Any) -> None:
        frame = io.BytesIO()
        write_frames(frame, [self._event(wall_time=time.time(), **fields).SerializeToString()])
        self._file.append(frame.getvalue())

    def close(self) -> None:
        self._file.close()
