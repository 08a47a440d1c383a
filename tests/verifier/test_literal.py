"""The codec keeps every plain value exactly, refuses everything else, and survives any bytes."""

import collections
import enum
import math
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.language import literal

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=-(2**700), max_value=2**700)
    | st.floats()
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters(exclude_categories=()))  # surrogates too
    | st.binary()
)
HASHABLE = SCALARS | st.tuples(SCALARS, SCALARS) | st.frozensets(SCALARS, max_size=3)
VALUES = st.deferred(
    lambda: (
        SCALARS
        | st.lists(VALUES, max_size=6)
        | st.lists(st.integers())
        | st.lists(st.integers(-(2**600), 2**600), min_size=8)
        | st.lists(st.floats())
        | st.lists(st.text())
        | st.tuples(VALUES, VALUES)
        | st.sets(HASHABLE, max_size=4)
        | st.dictionaries(HASHABLE, VALUES, max_size=4)
    )
)


def same(a, b) -> bool:
    """Equal in type and value throughout; NaN is NaN, -0.0 is not 0.0."""
    if type(a) is not type(b):
        return False
    if type(a) is float:
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    if type(a) in (list, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is dict:
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a.items(), b.items(), strict=True))
    if type(a) in (set, frozenset):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    return a == b or a != a


@given(VALUES)
def test_round_trip(value):
    assert same(literal.decode(literal.encode(value)), value)


@given(VALUES)
def test_parts_are_the_whole(value):
    assert b"".join(literal.encode_parts(value)) == literal.encode(value)


@given(VALUES)
def test_limit_is_exact(value):
    size = len(literal.encode(value))
    assert literal.encode(value, size)
    with pytest.raises(literal.LiteralTooBig):
        literal.encode(value, size - 1)


@given(st.binary(max_size=200))
def test_any_bytes(data):
    try:
        value = literal.decode(data)
    except literal.CorruptLiteral:
        return
    literal.encode(value)  # what comes out is plain


@given(VALUES, st.data())
def test_damaged_bytes(value, data):
    encoded = bytearray(literal.encode(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    try:
        literal.encode(literal.decode(bytes(encoded)))
    except literal.CorruptLiteral:
        return


@given(VALUES)
def test_truncated_bytes(value):
    encoded = literal.encode(value)
    for end in {0, len(encoded) // 2, len(encoded) - 1}:
        with pytest.raises(literal.CorruptLiteral):
            literal.decode(encoded[:end])


class OddInt(int):
    pass


class OddList(list):
    def __iter__(self):
        raise AssertionError("a method of the value was called")

    def __len__(self):
        raise AssertionError("a method of the value was called")


class Color(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    "value",
    [
        OddInt(1),
        OddList(),
        Color.RED,
        collections.OrderedDict(),
        collections.Counter(),
        collections.namedtuple("Point", "x")(1),
        object(),
        int,
        len,
        range(3),
        iter([]),
        bytearray(b"x"),
        memoryview(b"x"),
        ...,
        NotImplemented,
    ],
)
def test_not_plain(value):
    for wrapped in (value, [value], [1, value], (value,), {1: value}):
        with pytest.raises(literal.NotLiteral):
            literal.encode(wrapped)


@pytest.mark.parametrize(
    "value", [1 << 80_000_000, [0, 1 << 80_000_000], ["x" * 1000] * 10_000], ids=["int", "ints", "texts"]
)
def test_what_is_too_big_is_refused_before_it_is_copied(value):
    """The copy would be charged to a program's own time and memory."""
    tracemalloc.start()
    try:
        with pytest.raises(literal.LiteralTooBig):
            literal.encode(value, 1 << 16)
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()


def test_value_inside_itself():
    value: list = []
    value.append(value)
    with pytest.raises(literal.NotLiteral):
        literal.encode(value)


def test_announced_sizes_allocate_nothing():
    for tag in b"lteImSsbiDW":
        with pytest.raises(literal.CorruptLiteral):
            literal.decode(bytes([tag]) + b"\xff\xff\xff\xff" + b"\x08\0\0\0")


def test_unhashable_members():
    with pytest.raises(literal.CorruptLiteral):
        literal.decode(b"e\x01\0\0\0" + literal.encode([1]))
