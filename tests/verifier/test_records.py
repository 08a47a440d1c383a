"""Records survive the disk exactly, in TensorFlow's format, and damage is never read as data."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.storage import records
from verifier.storage.records import CorruptRecordError, Kind, RecordError

EVERY_KIND = {
    "i": Kind.INT,
    "f": Kind.FLOAT,
    "t": Kind.TEXT,
    "b": Kind.BYTES,
    "is": Kind.INTS,
    "fs": Kind.FLOATS,
    "ts": Kind.TEXTS,
}

_int64 = st.integers(-(2**63), 2**63 - 1)
_float32 = st.floats(width=32, allow_nan=False)
_any_text = st.text(st.characters())  # lone surrogates included
_values = {
    "i": _int64,
    "f": _float32,
    "t": _any_text,
    "b": st.binary(),
    "is": st.lists(_int64),
    "fs": st.lists(_float32),
    "ts": st.lists(_any_text),
}


def _write(path: Path, count: int = 3) -> list[dict]:
    rows = [
        {"puzzle_id": f"p{i}", "text": "é\ud800" * i, "weight": 0.5, "iteration": i} for i in range(count)
    ]
    records.write_tfrecord(path, rows, records.PAIR)
    return rows


@given(st.fixed_dictionaries({}, optional=_values))
def test_decode_inverts_encode(record: dict) -> None:
    decoded = records.decode(records.encode(record, EVERY_KIND), EVERY_KIND)
    assert decoded == {name: record.get(name) for name in EVERY_KIND}


@given(st.fixed_dictionaries({}, optional=_values), st.randoms())
def test_bytes_do_not_depend_on_the_order_of_fields(record: dict, random) -> None:
    shuffled = list(record.items())
    random.shuffle(shuffled)
    assert records.encode(dict(shuffled), EVERY_KIND) == records.encode(record, EVERY_KIND)


_some = st.fixed_dictionaries({}, optional={name: st.none() | values for name, values in _values.items()})
_alike = st.fixed_dictionaries(_values)  # written column by column
_as_models_write = st.fixed_dictionaries(
    {"i": st.integers(0, 200), "f": _float32, "t": st.text("ab\n\ud800é")}
)


@given(st.lists(_some) | st.lists(_alike) | st.lists(_as_models_write), st.integers(1, 3))
def test_records_are_written_together_as_one_by_one(rows: list[dict], together: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "TOGETHER", together)
        assert [*records.encode_all(iter(rows), EVERY_KIND)] == [records.encode(r, EVERY_KIND) for r in rows]


@pytest.mark.parametrize("last", [{"i": 2**63}, {"i": True}, {"f": 1e39}, {"t": b"x"}, {"j": 1}])
def test_a_record_among_many_is_refused_as_it_is_alone(last: dict) -> None:
    rows = [{"i": 3, "f": 0.5, "t": "x"}] * 100
    last = {**rows[0], **last}
    with pytest.raises(RecordError) as alone:
        records.encode(last, EVERY_KIND)
    with pytest.raises(RecordError) as among:
        list(records.encode_all([*rows, last], EVERY_KIND))
    assert str(among.value) == str(alone.value)


def _by_protobuf(data: bytes, schema: records.Schema):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("verifier.storage.example_wire.read", lambda data, schema: None)
        return _outcome(data, schema)


def _outcome(data: bytes, schema: records.Schema):
    try:
        return records.decode(data, schema)
    except RecordError as error:
        return str(error)


@given(st.fixed_dictionaries({}, optional=_values), st.data())
def test_what_is_read_by_hand_is_what_protobuf_reads(record: dict, data: st.DataObject) -> None:
    """Whole messages, and messages with a byte changed, dropped, doubled or cut off at the end."""
    written = records.encode(record, EVERY_KIND)
    assert repr(_outcome(written, EVERY_KIND)) == repr(_by_protobuf(written, EVERY_KIND))  # NaN equals no NaN
    at = data.draw(st.integers(0, max(0, len(written) - 1)))
    byte = data.draw(st.binary(min_size=0, max_size=2))
    for damaged in (written[:at] + byte + written[at + 1 :], written[:at], written + written, byte + written):
        assert repr(_outcome(damaged, EVERY_KIND)) == repr(_by_protobuf(damaged, EVERY_KIND))


def test_texts_that_were_read_before_are_no_other_fields_texts() -> None:
    """What is kept of one field, kind or schema says nothing about another's."""
    short, long = "x" * 5, "y" * 500
    for text in (short, long):
        as_text = records.encode({"t": text}, EVERY_KIND)
        assert records.decode(as_text, EVERY_KIND)["t"] == text
        assert records.decode(as_text, {"t": Kind.BYTES}) == {"t": text.encode()}
        assert records.decode(as_text, {"t": Kind.TEXTS}) == {"t": [text]}
        with pytest.raises(RecordError, match="'t' is INT"):
            records.decode(as_text, {"t": Kind.INT})
        with pytest.raises(RecordError, match="'t'"):
            records.decode(as_text, {"u": Kind.TEXT})
        assert records.decode(records.encode({"t": text + "!"}, EVERY_KIND), EVERY_KIND)["t"] == text + "!"
    many = [{"t": str(i), "i": i, "f": i / 2} for i in (*range(9000), *range(9000))]
    assert [records.decode(records.encode(r, EVERY_KIND), EVERY_KIND)["t"] for r in many] == [
        r["t"] for r in many
    ]


def test_none_is_absent_and_empty_is_not() -> None:
    assert records.encode({"is": None}, EVERY_KIND) == records.encode({}, EVERY_KIND)
    decoded = records.decode(records.encode({"is": [], "t": "", "b": b""}, EVERY_KIND), EVERY_KIND)
    assert (decoded["is"], decoded["t"], decoded["b"], decoded["ts"]) == ([], "", b"", None)


def test_numpy_values_are_taken_as_the_numbers_they_are() -> None:
    numpy = pytest.importorskip("numpy")
    record = {"i": numpy.int64(7), "f": numpy.float32(0.1), "is": numpy.arange(3), "fs": numpy.ones(2)}
    decoded = records.decode(records.encode(record, EVERY_KIND), EVERY_KIND)
    assert (decoded["i"], decoded["is"], decoded["fs"]) == (7, [0, 1, 2], [1.0, 1.0])
    assert decoded["f"] == float(numpy.float32(0.1))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("i", 1.0),
        ("i", True),
        ("i", "1"),
        ("i", 2**63),
        ("f", "nan"),
        ("f", 1e39),
        ("f", False),
        ("t", b"bytes"),
        ("t", 3),
        ("b", "text"),
        ("is", 3),
        ("is", "12"),
        ("is", [1, None]),
        ("fs", {"a": 1.0}),
        ("ts", "one text is not a list of texts"),
        ("ts", ["a", 1]),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(RecordError) as caught:
        records.encode({name: value}, EVERY_KIND)
    assert f"{name!r}" in str(caught.value)
    assert repr(value)[:20] in str(caught.value)


def test_an_unknown_field_is_refused_by_name_in_both_directions() -> None:
    with pytest.raises(RecordError, match=r"'wieght' \(value 2\)"):
        records.encode({"wieght": 2}, records.PAIR)
    with pytest.raises(RecordError, match="'puzzle_id'"):
        records.decode(records.encode({"puzzle_id": "x"}, records.PAIR), records.TOKENS)


def test_a_field_of_another_kind_is_refused_by_name() -> None:
    for written, read in [(Kind.TEXT, Kind.INT), (Kind.INTS, Kind.INT), (Kind.FLOAT, Kind.INT)]:
        value = {"TEXT": "x", "INTS": [1, 2], "FLOAT": 1.0}[written.name]
        with pytest.raises(RecordError, match="'x' is INT"):
            records.decode(records.encode({"x": value}, {"x": written}), {"x": read})
    with pytest.raises(RecordError, match="'x' is TEXT"):
        records.decode(records.encode({"x": b"\xff"}, {"x": Kind.BYTES}), {"x": Kind.TEXT})


def test_bytes_that_are_no_example_are_refused() -> None:
    with pytest.raises(RecordError, match=r"not a tf\.train\.Example"):
        records.decode(b"\xff\xff\xff", records.PAIR)


def test_a_file_is_read_as_written_and_its_digest_is_of_its_bytes(tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "x.tfrecord"
    rows = [{"tokens": list(range(n))} for n in range(400)]  # longer than a block
    info = records.write_tfrecord(path, rows, records.TOKENS)
    data = path.read_bytes()
    assert info == records.ShardInfo(400, len(data), hashlib.sha256(data).hexdigest())
    assert list(records.read_tfrecord(path, records.TOKENS)) == rows
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.tfrecord"]


def test_every_flipped_bit_is_reported_with_file_and_offset(tmp_path: Path) -> None:
    path = tmp_path / "x.tfrecord"
    rows = _write(path)
    good = path.read_bytes()
    starts = [0]
    while starts[-1] < len(good):
        starts.append(starts[-1] + 16 + struct.unpack_from("<Q", good, starts[-1])[0])
    for bit in range(8 * len(good)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        read = []
        with pytest.raises(CorruptRecordError) as caught:
            for record in records.read_tfrecord(path, records.PAIR):
                read.append(record)
        assert caught.value.path == str(path) and str(path) in str(caught.value)
        assert caught.value.offset == max(start for start in starts if start <= bit // 8)
        assert read == rows[: len(read)]


def test_every_truncation_is_reported_except_between_records(tmp_path: Path) -> None:
    path = tmp_path / "x.tfrecord"
    _write(path)
    good = path.read_bytes()
    whole = 0
    for length in range(len(good)):
        path.write_bytes(good[:length])
        try:
            list(records.read_tfrecord(path, records.PAIR))
            whole += 1
        except CorruptRecordError as error:
            assert error.offset < length
            assert "truncated" in error.why
    assert whole == 3  # empty, after one record, after two: only a ledger can tell


def test_trailing_bytes_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "x.tfrecord"
    _write(path)
    good = path.read_bytes()
    path.write_bytes(good + b"\0" * 20)
    with pytest.raises(CorruptRecordError) as caught:
        list(records.read_tfrecord(path, records.PAIR))
    assert caught.value.offset == len(good)


def test_a_file_of_another_schema_is_reported_with_file_and_offset(tmp_path: Path) -> None:
    path = tmp_path / "x.tfrecord"
    _write(path)
    with pytest.raises(RecordError, match=rf"{path}: record at byte 0: field 'iteration'"):
        list(records.read_tfrecord(path, records.TOKENS))


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.tfrecord"
    rows = _write(path)
    with pytest.raises(RecordError):
        records.write_tfrecord(path, [*rows, {"text": 3}], records.PAIR)
    assert list(records.read_tfrecord(path, records.PAIR)) == rows
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.tfrecord"]


# Runs in a process of its own: TensorFlow must not enter the test process. Reads `ours`, writes `theirs`.
_TENSORFLOW = r"""
import sys
import tensorflow as tf

ours, theirs = sys.argv[1:]
spec = {
    "i": tf.io.FixedLenFeature([], tf.int64),
    "f": tf.io.FixedLenFeature([], tf.float32),
    "t": tf.io.FixedLenFeature([], tf.string),
    "b": tf.io.FixedLenFeature([], tf.string),
    "is": tf.io.VarLenFeature(tf.int64),
    "fs": tf.io.VarLenFeature(tf.float32),
    "ts": tf.io.VarLenFeature(tf.string),
}
read = [tf.io.parse_single_example(raw, spec) for raw in tf.data.TFRecordDataset(ours)]
assert len(read) == 2, len(read)
first, second = read
assert first["i"].numpy() == -(2**63) and second["i"].numpy() == 5
assert first["f"].numpy() == 0.25
assert first["t"].numpy().decode("utf-8", "surrogatepass") == "h\u00e9llo \ud800"
assert first["b"].numpy() == b"\0\xff"
assert first["is"].values.numpy().tolist() == [1, 2**62, -3]
assert first["fs"].values.numpy().tolist() == [0.5, -0.5]
assert first["ts"].values.numpy().tolist() == [b"a", b""]
assert second["is"].values.numpy().tolist() == []

def feature(name, value):
    return tf.train.Feature(**{name: {"bytes_list": tf.train.BytesList, "float_list": tf.train.FloatList,
                                      "int64_list": tf.train.Int64List}[name](value=value)})

features = {
    "ts": feature("bytes_list", [b"x", "\u00e9".encode()]), "i": feature("int64_list", [2**63 - 1]),
    "f": feature("float_list", [1.5]), "is": feature("int64_list", []), "t": tf.train.Feature(),
}
with tf.io.TFRecordWriter(theirs) as writer:
    writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    writer.write(tf.train.Example().SerializeToString())
"""


@pytest.mark.slow  # importing it; protobuf reads the same bytes above
def test_tensorflow_reads_ours_and_we_read_tensorflows(tmp_path: Path, user_environment: dict) -> None:
    ours, theirs = tmp_path / "ours.tfrecord", tmp_path / "theirs.tfrecord"
    first = {"i": -(2**63), "f": 0.25, "t": "héllo \ud800", "b": b"\0\xff", "is": [1, 2**62, -3]}
    first |= {"fs": [0.5, -0.5], "ts": ["a", ""]}
    records.write_tfrecord(ours, [first, {**first, "i": 5, "is": []}], EVERY_KIND)
    environment = {**user_environment, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", _TENSORFLOW, str(ours), str(theirs)],
        env=environment,
        capture_output=True,
        text=True,
    )
    if "No module named 'tensorflow'" in done.stderr:
        pytest.skip("TensorFlow is not installed (extra `data`)")
    assert done.returncode == 0, done.stderr
    everything, nothing = records.read_tfrecord(theirs, EVERY_KIND)
    assert everything == {
        "i": 2**63 - 1,
        "f": 1.5,
        "t": None,
        "b": None,
        "is": [],
        "fs": None,
        "ts": ["x", "é"],
    }
    assert nothing == dict.fromkeys(EVERY_KIND)


def test_the_wire_format_by_hand_is_protobufs() -> None:
    """Field by field what a serialised message of the same content holds, at all lengths of lengths."""
    schema = {"b": Kind.BYTES, "f": Kind.FLOATS, "i": Kind.INTS, "t": Kind.TEXTS, "ü": Kind.TEXT}
    for size in (0, 1, 127, 128, 16_383, 16_384):
        for number in (0, 1, -1, 127, 128, 2**63 - 1, -(2**63)):
            record = {
                "b": b"\xff" * size, "f": [0.0, -0.0, 2.0**-149, float("inf")] * (size % 3), "i": [number] * (size % 5),
                "t": ["\ud800", ""] * (size % 2), "ü": "ä" * size,
            }  # fmt: skip
            data = records.encode(record, schema)
            assert records.decode(data, schema) == record
            message = records._Example.FromString(data)
            assert message.SerializeToString() == data
