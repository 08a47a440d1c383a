"""Messages between the pool and its workers: a length and a literal, on pipes."""

import os
import select
import struct
from collections.abc import Callable
from typing import Any

from verifier.language import literal

_LENGTH = struct.Struct("<I")
MAX_BYTES = 1 << 30
IDLE_S = 2.0


class WireClosed(EOFError):
    """The other side is gone."""


def pack(message: object) -> bytes:
    data = literal.encode(message)
    return _LENGTH.pack(len(data)) + data


class Unpacker:
    """Bytes in as they come, messages out."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._have = 0
        self._need = _LENGTH.size

    def feed(self, data: bytes) -> list:
        """Raises literal.CorruptLiteral for what is no message."""
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need:
            return []
        buffer, at, messages = b"".join(self._parts), 0, []
        while True:
            self._need = _LENGTH.size
            if len(buffer) - at < self._need:
                break
            length = _LENGTH.unpack_from(buffer, at)[0]
            if length > MAX_BYTES:
                raise literal.CorruptLiteral(f"a message of {length} bytes")
            self._need += length
            if len(buffer) - at < self._need:
                break
            messages.append(literal.decode(buffer[at + _LENGTH.size : at + self._need]))
            at += self._need
        self._parts, self._have = [buffer[at:]], len(buffer) - at
        return messages


def send(descriptor: int, message: object) -> None:
    """Blocking. Raises BrokenPipeError."""
    view = memoryview(pack(message))
    while view:
        view = view[os.write(descriptor, view) :]


def receive(descriptor: int, while_idle: Callable[[], None] = lambda: None) -> Any:
    """One message, blocking, and not a byte of the next: a process forked from here must not hold that.

    Calls `while_idle` every two seconds while nothing comes. Raises WireClosed at the end.
    """
    (length,) = _LENGTH.unpack(_read_exactly(descriptor, _LENGTH.size, while_idle))
    return literal.decode(_read_exactly(descriptor, length, while_idle))


def _read_exactly(descriptor: int, size: int, while_idle: Callable[[], None]) -> bytes:
    parts = []
    while size:
        if not select.select([descriptor], [], [], IDLE_S)[0]:
            while_idle()
            continue
        data = os.read(descriptor, min(size, 1 << 20))
        if not data:
            raise WireClosed
        parts.append(data)
        size -= len(data)
    return b"".join(parts)
