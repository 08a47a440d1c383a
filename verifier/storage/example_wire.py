"""The wire format of tf.train.Example by hand (https://protobuf.dev/programming-guides/encoding).

Message objects take several times as long, and a run writes and reads millions of records. Records of the same fields
are written column by column, in loops that run in C.

Writing covers everything. Reading covers the form that is written here, one value a field; for anything else `read`
returns None, and records.py uses protobuf's own parser.
"""

from __future__ import annotations

import enum
import functools
import itertools
import operator
import struct
from collections.abc import Iterable, Mapping
from typing import Any


class Kind(enum.Enum):
    """What one field holds: one value, or a list of them."""

    INT = "int"
    FLOAT = "float"
    TEXT = "text"
    BYTES = "bytes"
    INTS = "ints"
    FLOATS = "floats"
    TEXTS = "texts"


SHORT = 64  # bytes of an entry that is kept when it is read
KEPT = 4096  # entries read, and beginnings of entries written

_BYTES = [bytes([i]) for i in range(0x80)]
_FLOAT = struct.Struct("<f")
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = b"\n", b"\x12", b"\x1a"  # of fields 1, 2 and 3; a length follows


def varint(number: int) -> bytes:
    """`number` must be at least 0."""
    if number < 0x80:
        return _BYTES[number]
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(tag: bytes, content: bytes) -> bytes:
    return b"".join((tag, varint(len(content)), content))


def example(entries: list[bytes]) -> bytes:
    """A message of these entries, each a name with its feature."""
    return field(b"\n", b"".join(entries))


@functools.lru_cache(maxsize=1024)
def _key(name: str) -> bytes:
    return field(b"\n", name.encode())


def entry(name: str, feature: bytes) -> bytes:
    return field(b"\n", _key(name) + field(b"\x12", feature))


# Features: an empty list is not an absent one.


def of_bytes(values: list[bytes]) -> bytes:
    return field(_BYTES_LIST, b"".join([field(b"\n", value) for value in values]))


def of_floats(values: list[float]) -> bytes:
    return field(_FLOAT_LIST, field(b"\n", struct.pack(f"<{len(values)}f", *values)) if values else b"")


def of_ints(values: list[int]) -> bytes:
    packed = b"".join([varint(value & 0xFFFFFFFFFFFFFFFF) for value in values])
    return field(_INT64_LIST, field(b"\n", packed) if values else b"")


# Columns: single values of one field in many messages. Each gives the pieces of its entries, one iterable a piece.

Column = tuple[Iterable[bytes], ...]


def texts(name: str, values: list[str]) -> Column:
    try:
        data = [*map(str.encode, values)]
    except UnicodeEncodeError:  # model text may hold lone surrogates
        data = [value.encode("utf-8", "surrogatepass") for value in values]
    return map(_text_head, itertools.repeat(name), map(len, data)), data


def ints(name: str, values: list[int]) -> Column:
    """Raises ValueError, once it is iterated over, where 64 bits cannot hold a value."""
    return (map(_int_entry, itertools.repeat(name), values),)


def floats(name: str, values: list[float]) -> Column:
    """Raises OverflowError, once it is iterated over, where 32 bits cannot hold a value."""
    return itertools.repeat(entry(name, of_floats([0.0]))[:-4]), map(_FLOAT.pack, values)


def examples(count: int, columns: Iterable[Column]) -> list[bytes]:
    """Messages of which each has one value of every column."""
    pieces = [piece for column in columns for piece in column]
    contents = [*map(b"".join, zip([b""] * count, *pieces, strict=False))]
    return [*map(operator.add, map(_example_head, map(len, contents)), contents)]


@functools.lru_cache(maxsize=KEPT)
def _text_head(name: str, size: int) -> bytes:
    """What precedes a text of this many bytes in its entry."""
    head = b""
    for before in (b"\n", _BYTES_LIST, _key(name) + b"\x12", b"\n"):
        head = before + varint(size + len(head)) + head
    return head


@functools.lru_cache(maxsize=KEPT)
def _int_entry(name: str, value: int) -> bytes:
    if not -(2**63) <= value < 2**63:
        raise ValueError("outside 64 bits")
    return entry(name, of_ints([value]))


@functools.lru_cache(maxsize=KEPT)
def _example_head(size: int) -> bytes:
    return b"\n" + varint(size)


# Reading. An entry that was read before -> its name, the kind it was read as, the value.
_known: dict[bytes, tuple[str, Kind, Any]] = {}
_texts: dict[str, tuple[bytes, str]] = {}  # field -> the long text that was read last
_TAGS = {Kind.TEXT.value: 10, Kind.FLOAT.value: 18, Kind.INT.value: 26}


def read(data: bytes, schema: Mapping[str, Kind]) -> dict[str, Any] | None:
    """The values present, by name; None for a message of another form. Raises UnicodeDecodeError."""
    try:
        return _read(data, schema)
    except IndexError:  # it ends too early, or a number is too long
        return None


def _read(data: bytes, schema: Mapping[str, Kind]) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    size, at = _number(data, 1)
    end = len(data)
    if data[0] != 10 or at + size != end:
        return None
    while at < end:
        if data[at] != 10:
            return None
        size = data[at + 1]
        at += 2
        if size >= 0x80:
            size, at = _number(data, at - 1)
        stop = at + size
        if stop > end:
            return None
        raw = data[at:stop]
        known = _known.get(raw)
        if known is None or schema.get(known[0]) is not known[1]:
            known = _read_entry(raw, schema)
            if known is None:
                return None
        found[known[0]] = known[2]
        at = stop
    return found


def _read_entry(raw: bytes, schema: Mapping[str, Kind]) -> tuple[str, Kind, Any] | None:
    key, at = raw[2 : 2 + raw[1]], 2 + raw[1]
    if raw[0] != 10 or raw[1] >= 0x80 or not key.isascii():
        return None
    name = key.decode()
    kind = schema.get(name)
    if kind is None:
        return None
    last = _texts.get(name)
    if last is not None and last[0] == raw and kind is Kind.TEXT:
        return name, kind, last[1]
    value = _read_feature(raw, at, kind)
    if value is None:
        return None
    if kind is not Kind.FLOAT and len(raw) <= SHORT:
        if len(_known) >= KEPT:
            _known.clear()
        _known[raw] = name, kind, value
    elif kind is Kind.TEXT:
        _texts[name] = raw, value
    return name, kind, value


def _read_feature(raw: bytes, at: int, kind: Kind) -> Any:
    """The one value of the feature that fills the rest of an entry; None if that holds anything else."""
    for tag in (18, _TAGS.get(kind.value), 10):  # of the feature in the entry, of its list, of the values
        if raw[at] != tag:
            return None
        size, at = _number(raw, at + 1)
        if at + size != len(raw):
            return None
    if kind is Kind.TEXT:
        return raw[at:].decode("utf-8", "surrogatepass")
    if kind is Kind.FLOAT:
        return _FLOAT.unpack_from(raw, at)[0] if size == 4 else None
    number, at = _number(raw, at)
    return number if at == len(raw) else None


def _number(data: bytes, at: int) -> tuple[int, int]:
    """The number written there, in five bytes at most, and where it ends. Raises IndexError if it does not end."""
    number = data[at]
    if number < 0x80:
        return number, at + 1
    number &= 0x7F
    for shift in (7, 14, 21, 28):
        at += 1
        number |= (data[at] & 0x7F) << shift
        if data[at] < 0x80:
            return number, at + 1
    raise IndexError
