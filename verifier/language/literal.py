"""Answers as bytes: an exact, bounded codec of plain built-in values.

An answer crosses from the process that ran a solution to the one that runs the puzzle only in this form.
What is encoded is None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset and dict, each
by `type(x) is ...`: an instance of a subclass is refused, and no method of a value is ever called. Aliases
are not kept: two references to one list become two lists. NaNs, infinities, -0.0, lone surrogates and
integers of any length survive.

`decode` trusts nothing: whatever the bytes are, it returns a plain value or raises CorruptLiteral, in time linear in
their number. (JSON loses types and is slow on long integers; pickle and marshal are unsafe to read.)

Layout: one tag byte, then for lists of one scalar type a packed array, else the items one after another.
"""

import struct
from collections.abc import Callable
from itertools import accumulate
from operator import countOf
from typing import Any

MAX_DEPTH = 64  # containers within containers
MAX_WIDTH = 64  # bytes of each integer in a list packed at one width

Part = bytes
Buffer = bytes | memoryview

_COUNT = struct.Struct("<I")
_INT64 = struct.Struct("<cq")
_FLOAT = struct.Struct("<cd")
_COMPLEX = struct.Struct("<cdd")
_HEAD = struct.Struct("<cI")  # tag, count or length in bytes


class NotLiteral(TypeError):
    """The value is, or holds, something that is not a plain built-in value; the message names its type."""


class LiteralTooBig(ValueError):
    """The encoded value would exceed the limit."""


class CorruptLiteral(ValueError):
    """The bytes are not what `encode` writes."""


def encode(value: object, limit_bytes: int = 1 << 30) -> bytes:
    """The value as bytes.

    Raises:
        NotLiteral: something in it is not a plain built-in value, or is nested too deep (or within itself).
        LiteralTooBig: more than `limit_bytes`.
    """
    return b"".join(encode_parts(value, limit_bytes))


def encode_parts(value: object, limit_bytes: int = 1 << 30) -> list[Part]:
    """As `encode`, with the bytes not yet joined, so that large parts are not copied."""
    parts: list[Part] = []
    if _encode(value, parts, limit_bytes, 0) < 0:
        raise LiteralTooBig(f"more than {limit_bytes} bytes")
    return parts


def _encode(value: Any, parts: list[Part], room: int, depth: int) -> int:
    """Appends the value to `parts`; returns the bytes of `room` that are left."""
    kind = type(value)
    if kind is int:
        part = _encode_int(value, room)
    elif kind is str:
        if len(value) > room:
            raise LiteralTooBig("the value exceeds the size limit")
        text = value.encode("utf-8", "surrogatepass")
        part = _HEAD.pack(b"s", len(text)) + text
    elif kind is list:
        return _encode_list(value, parts, room, depth)
    elif kind is bool:
        part = b"T" if value else b"F"
    elif kind is float:
        part = _FLOAT.pack(b"d", value)
    elif value is None:
        part = b"N"
    elif kind in _CONTAINER_TAGS:
        items = value
        if kind is dict:
            items = [part for pair in value.items() for part in pair]
        return _encode_items(_CONTAINER_TAGS[kind], items, len(value), parts, room, depth)
    elif kind is bytes:
        if len(value) > room:
            raise LiteralTooBig("the value exceeds the size limit")
        part = _HEAD.pack(b"b", len(value)) + value
    elif kind is complex:
        part = _COMPLEX.pack(b"c", value.real, value.imag)
    else:
        raise NotLiteral(f"{_type_name(value)} is not a plain built-in value")
    room -= len(part)
    if room < 0:
        raise LiteralTooBig("the value exceeds the size limit")
    parts.append(part)
    return room


_CONTAINER_TAGS: dict[type, bytes] = {tuple: b"t", dict: b"m", set: b"e", frozenset: b"z"}


def _type_name(value: object) -> str:
    # type.__name__ through the slot of `type` itself, so that a metaclass cannot forge it
    name = type.__dict__["__name__"].__get__(type(value))
    return str.__str__(name)[:60] if type(name) is str else "an object"


def _encode_int(value: int, room: int) -> bytes:
    if -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        return _INT64.pack(b"q", value)
    size = value.bit_length() // 8 + 1
    if size > room:  # before copying it, which would be charged to the program's own time and memory
        raise LiteralTooBig("the value exceeds the size limit")
    data = value.to_bytes(size, "little", signed=True)
    return _HEAD.pack(b"i", len(data)) + data


def _encode_list(value: list, parts: list[Part], room: int, depth: int) -> int:
    """A list of only ints, floats or strings is packed; others item by item."""
    count = len(value)
    packed: list[Part] | None = None
    kind = type(value[0]) if value else None
    packable = (kind is int or kind is str or kind is float) and 4 * count <= room
    # (a metaclass may pass itself off as int in this count: its program then chose to answer plain integers)
    if packable and countOf(map(type, value), kind) == count:
        if kind is int:
            packed = _pack_ints(value, count, room)
        elif kind is str:
            packed = _pack_texts(value, count, room)
        elif kind is float:
            packed = [_HEAD.pack(b"D", count), struct.pack(f"<{count}d", *value)]
    if packed is None:
        return _encode_items(b"l", value, count, parts, room, depth)
    room -= sum(map(len, packed))
    if room < 0:
        raise LiteralTooBig("the value exceeds the size limit")
    parts += packed
    return room


# struct takes half the time of array and memoryview


def _pack_ints(value: list[int], count: int, room: int) -> list[Part]:
    """32 bits each if that is enough, or 64; else all at the width of the widest, or each at its own."""
    for tag, letter in ((b"J", "i"), (b"I", "q")):
        try:
            return [_HEAD.pack(tag, count) + struct.pack(f"<{count}{letter}", *value)]
        except struct.error:
            continue
    widths = [bits // 8 + 1 for bits in map(int.bit_length, value)]
    width = max(widths)
    if sum(widths) > room:
        raise LiteralTooBig("the value exceeds the size limit")
    if width <= MAX_WIDTH:
        data = b"".join([number.to_bytes(width, "little", signed=True) for number in value])
        return [_HEAD.pack(b"W", count), _COUNT.pack(width), data]
    numbers = zip(value, widths, strict=True)
    data = b"".join([number.to_bytes(size, "little", signed=True) for number, size in numbers])
    return [_HEAD.pack(b"V", count) + struct.pack(f"<{count}I", *widths), data]


def _pack_texts(value: list[str], count: int, room: int) -> list[Part]:
    if sum(map(len, value)) > room:
        raise LiteralTooBig("the value exceeds the size limit")
    text = "".join(value)
    if text.isascii():
        return [_HEAD.pack(b"S", count) + struct.pack(f"<{count}I", *map(len, value)), text.encode()]
    texts = [text.encode("utf-8", "surrogatepass") for text in value]
    return [_HEAD.pack(b"S", count) + struct.pack(f"<{count}I", *map(len, texts)), *texts]


def _encode_items(tag: bytes, items: Any, count: int, parts: list[Part], room: int, depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise NotLiteral(f"nested more than {MAX_DEPTH} deep")
    parts.append(_HEAD.pack(tag, count))
    room -= _HEAD.size
    if count > room:
        raise LiteralTooBig("the value exceeds the size limit")
    for item in items:
        room = _encode(item, parts, room, depth + 1)
    return room


def decode(data: Buffer) -> Any:
    """The value that `encode` turned into these bytes.

    Raises:
        CorruptLiteral: truncated, left-over bytes, unknown tag, an unhashable member, nested too deep.
        MemoryError: this says nothing against the bytes.
    """
    try:
        value, end = _decode(data, 0, 0)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError, KeyError) as e:
        raise CorruptLiteral(f"{type(e).__name__}: {e}") from e
    if end != len(data):
        raise CorruptLiteral(f"{len(data) - end} bytes after the value")
    return value


def _decode(data: Buffer, at: int, depth: int) -> tuple[Any, int]:
    tag = data[at]
    decoder = _DECODERS.get(tag)
    if decoder is not None:
        return decoder(data, at + 1)
    if depth >= MAX_DEPTH:
        raise CorruptLiteral(f"nested more than {MAX_DEPTH} deep")
    build, per_item = _BUILDERS[tag]
    count, at = _read_count(data, at + 1)
    count *= per_item
    if count > len(data) - at:  # every item takes a byte at least
        raise CorruptLiteral(f"{count} items announced, {len(data) - at} bytes left")
    items = []
    for _ in range(count):
        item, at = _decode(data, at, depth + 1)
        items.append(item)
    return build(items), at


def _read_count(data: Buffer, at: int) -> tuple[int, int]:
    return _COUNT.unpack_from(data, at)[0], at + 4


def _slice(data: Buffer, at: int) -> tuple[Buffer, int]:
    length, at = _read_count(data, at)
    if length > len(data) - at:
        raise CorruptLiteral(f"{length} bytes announced, {len(data) - at} left")
    return data[at : at + length], at + length


def _decode_bytes(data: Buffer, at: int) -> tuple[bytes, int]:
    part, at = _slice(data, at)
    return bytes(part), at


def _decode_int64(data: Buffer, at: int) -> tuple[int, int]:
    return struct.unpack_from("<q", data, at)[0], at + 8


def _decode_float(data: Buffer, at: int) -> tuple[float, int]:
    return struct.unpack_from("<d", data, at)[0], at + 8


def _decode_complex(data: Buffer, at: int) -> tuple[complex, int]:
    return complex(*struct.unpack_from("<dd", data, at)), at + 16


def _decode_int(data: Buffer, at: int) -> tuple[int, int]:
    part, at = _slice(data, at)
    return int.from_bytes(part, "little", signed=True), at


def _decode_str(data: Buffer, at: int) -> tuple[str, int]:
    part, at = _slice(data, at)
    return str(part, "utf-8", "surrogatepass"), at


def _decode_array(letter: str, size: int) -> Callable[[Buffer, int], tuple[list, int]]:
    def decoder(data: Buffer, at: int) -> tuple[list, int]:
        count, at = _read_count(data, at)
        end = at + count * size
        if end > len(data):
            raise CorruptLiteral(f"{count} numbers announced, {len(data) - at} bytes left")
        return list(struct.unpack_from(f"<{count}{letter}", data, at)), end

    return decoder


_decode_lengths = _decode_array("I", 4)


def _decode_wide_ints(data: Buffer, at: int) -> tuple[list[int], int]:
    count, at = _read_count(data, at)
    width, at = _read_count(data, at)
    end = at + count * width
    if not 0 < width <= MAX_WIDTH or end > len(data):
        raise CorruptLiteral(f"{count} numbers of {width} bytes announced, {len(data) - at} bytes left")
    numbers = struct.iter_unpack(f"{width}s", data[at:end])
    return [int.from_bytes(number, "little", signed=True) for (number,) in numbers], end


def _decode_pieces(data: Buffer, at: int) -> tuple[bytes, list[slice], int]:
    """From a packed list of lengths and pieces: all the pieces joined, the slice of each, and where they end."""
    lengths, at = _decode_lengths(data, at)
    end = at + sum(lengths)
    if end > len(data):
        raise CorruptLiteral(f"{sum(lengths)} bytes announced, {len(data) - at} left")
    ends = list(accumulate(lengths, initial=0))
    return bytes(data[at:end]), list(map(slice, ends, ends[1:])), end


def _decode_long_ints(data: Buffer, at: int) -> tuple[list[int], int]:
    data, pieces, end = _decode_pieces(data, at)
    return [int.from_bytes(data[piece], "little", signed=True) for piece in pieces], end


def _decode_texts(data: Buffer, at: int) -> tuple[list[str], int]:
    data, pieces, end = _decode_pieces(data, at)
    if data.isascii():
        text = str(data, "ascii")
        return [text[piece] for piece in pieces], end
    return [str(data[piece], "utf-8", "surrogatepass") for piece in pieces], end


_DECODERS: dict[int, Callable[[Buffer, int], tuple[Any, int]]] = {
    ord("N"): lambda data, at: (None, at),
    ord("T"): lambda data, at: (True, at),
    ord("F"): lambda data, at: (False, at),
    ord("q"): _decode_int64,
    ord("i"): _decode_int,
    ord("d"): _decode_float,
    ord("c"): _decode_complex,
    ord("s"): _decode_str,
    ord("b"): _decode_bytes,
    ord("I"): _decode_array("q", 8),
    ord("J"): _decode_array("i", 4),
    ord("D"): _decode_array("d", 8),
    ord("S"): _decode_texts,
    ord("W"): _decode_wide_ints,
    ord("V"): _decode_long_ints,
}


def _build_dict(items: list) -> dict:
    return dict(zip(items[::2], items[1::2], strict=True))


# tag -> what makes the container, items per entry
_BUILDERS: dict[int, tuple[Callable[[list], Any], int]] = {
    ord("l"): (list, 1),
    ord("t"): (tuple, 1),
    ord("e"): (set, 1),
    ord("z"): (frozenset, 1),
    ord("m"): (_build_dict, 2),
}

# type -> tags that by themselves prove a value to be of that type: nothing is left to check
PROOFS: dict[str, bytes] = {
    "int": b"qi",
    "float": b"d",
    "str": b"s",
    "List[int]": b"IJWV",
    "List[float]": b"D",
    "List[str]": b"S",
}
