"""TFRecord files: the framing of opaque messages, with every length and every byte under a checksum.

Format, from https://www.tensorflow.org/tutorials/load_data/tfrecord, all little-endian:
  uint64 length, uint32 masked crc32c of those 8 bytes, the message, uint32 masked crc32c of the message.
"""

from __future__ import annotations

import functools
import hashlib
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

import google_crc32c

from verifier.errors import UserError
from verifier.storage import files


class CorruptRecordError(UserError):
    """A file that is not what was written: `path`, byte `offset` of the damaged record, and `why`."""

    def __init__(self, path: files.Path, offset: int, why: str) -> None:
        self.path, self.offset, self.why = os.fspath(path), offset, why
        super().__init__(
            f"{self.path}: corrupt at byte {offset}: {why}. "
            "If a stage wrote this file, delete it and run the same command again: it alone is recomputed."
        )

    def __reduce__(self) -> tuple[Any, ...]:  # so that it crosses process pools
        return type(self), (self.path, self.offset, self.why)


@dataclass(frozen=True)
class ShardInfo:
    """What a TFRecord file holds; `bytes` is its size and `sha256` its digest in hex."""

    rows: int
    bytes: int
    sha256: str


_HEAD = struct.Struct("<QI")
_CHECK = struct.Struct("<I")
BLOCK = 1 << 16  # bytes of messages that are written together


def _masked_crc(data: bytes) -> int:
    """TFRecord's rotated and shifted crc32c; plain crcs of data that holds crcs would be weak."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@functools.lru_cache(maxsize=4096)
def _head(size: int) -> bytes:
    """The header of a message of this many bytes."""
    length = struct.pack("<Q", size)
    return length + _CHECK.pack(_masked_crc(length))


def write_frames(file: IO[bytes], messages: Iterable[bytes]) -> ShardInfo:
    """Writes the messages, framed, to an open file."""
    rows, size, digest = 0, 0, hashlib.sha256()
    for block in _blocks(messages):
        frames = b"".join([piece for data in block for piece in (_head(len(data)), data, _check(data))])
        file.write(frames)
        digest.update(frames)
        rows, size = rows + len(block), size + len(frames)
    return ShardInfo(rows, size, digest.hexdigest())


def _check(data: bytes) -> bytes:
    return _CHECK.pack(_masked_crc(data))


def _blocks(messages: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The messages, as many together as make a block of `BLOCK` bytes."""
    block, held = list[bytes](), 0
    for data in messages:
        block.append(data)
        held += len(data)
        if held >= BLOCK:
            yield block
            block, held = [], 0
    yield block


def read_frames(path: files.Path) -> Iterator[tuple[int, bytes]]:
    """(byte offset, message) of each record. Raises CorruptRecordError at the first damaged one."""
    size = files.size(path)
    with files.open_read(path) as file:
        offset = 0
        while offset < size:
            data = _read_frame(path, file, offset, size)
            yield offset, data
            offset += _HEAD.size + len(data) + _CHECK.size


def _read_frame(path: files.Path, file: IO[bytes], offset: int, size: int) -> bytes:
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise CorruptRecordError(
            path, offset, f"truncated: {len(head)} of the {_HEAD.size} bytes of a header"
        )
    length, length_check = _HEAD.unpack(head)
    if _masked_crc(head[:8]) != length_check:
        raise CorruptRecordError(path, offset, f"the checksum of the length ({length}) does not match")
    # Compare before reading: a wrong length may ask for more memory than there is.
    if offset + _HEAD.size + length + _CHECK.size > size:
        raise CorruptRecordError(path, offset, f"truncated: a record of {length} bytes in a file of {size}")
    data = file.read(length)
    check = file.read(_CHECK.size)
    if len(data) < length or len(check) < _CHECK.size:
        raise CorruptRecordError(path, offset, "truncated while it was read")
    if _masked_crc(data) != _CHECK.unpack(check)[0]:
        raise CorruptRecordError(path, offset, f"the checksum of the record ({length} bytes) does not match")
    return data
