"""Records: tf.train.Example messages in TFRecord files, without TensorFlow.

`tf.data.TFRecordDataset`, seqio, TFDS and Beam read these files as they are, and we read theirs. A schema
says which fields a record has and of what kind; a field that is absent on disk is None in the dict, and vice
versa. FLOAT is 32 bits on disk, as in tf.train.Example; INT is 64. The same record always gives the same bytes.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import operator
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from verifier.errors import UserError
from verifier.storage import example_wire, files
from verifier.storage.example_wire import Kind
from verifier.storage.tfrecord import CorruptRecordError, ShardInfo, read_frames, write_frames

__all__ = [
    "ATTEMPT",
    "PAIR",
    "PUZZLE",
    "REJECTION",
    "TOKENS",
    "VERDICT",
    "CorruptRecordError",
    "Kind",
    "RecordError",
    "Schema",
    "ShardInfo",
    "decode",
    "encode",
    "encode_all",
    "read_tfrecord",
    "write_tfrecord",
]


TOGETHER = 64  # records encoded together; an answer in one of them may have 16 MiB


class RecordError(UserError, ValueError):
    """A record that its schema does not allow; the message names the field and the value."""


Schema = Mapping[str, Kind]

PUZZLE: Schema = {
    "puzzle_id": Kind.TEXT,
    "source": Kind.TEXT,
    "answer_type": Kind.TEXT,
    "origin": Kind.TEXT,
    "prompt_puzzle_ids": Kind.TEXTS,
    "sample_index": Kind.INT,
    "logprob": Kind.FLOAT,
    "n_tokens": Kind.INT,
    "checkpoint": Kind.TEXT,
}
REJECTION: Schema = {**PUZZLE, "reason": Kind.TEXT, "detail": Kind.TEXT}
ATTEMPT: Schema = {
    "puzzle_id": Kind.TEXT,
    "puzzle": Kind.TEXT,
    "solution": Kind.TEXT,
    "sample_index": Kind.INT,
    "logprob": Kind.FLOAT,
    "n_tokens": Kind.INT,
    "stop_reason": Kind.TEXT,
    "checkpoint": Kind.TEXT,
}
VERDICT: Schema = {
    **ATTEMPT,
    "outcome": Kind.TEXT,
    "detail": Kind.TEXT,
    "cpu_s": Kind.FLOAT,
    "peak_mb": Kind.FLOAT,
    "answer": Kind.TEXT,
    "isolation": Kind.TEXT,
    "verifier_version": Kind.TEXT,
    "generality": Kind.FLOAT,
    "count": Kind.INT,  # of the attempts that this record stands for; absent: one. Nothing writes it any more
}
PAIR: Schema = {"puzzle_id": Kind.TEXT, "text": Kind.TEXT, "weight": Kind.FLOAT, "iteration": Kind.INT}
TOKENS: Schema = {"tokens": Kind.INTS}


def _build_example_class() -> Any:
    """tf.train.Example from descriptors made here, in a pool of its own beside TensorFlow's.

    `Features.feature` is a map<string, Feature>; on the wire a map is a repeated message of key and value.
    Declared as that, its order is ours: sorted by name, hence the same bytes in every protobuf version.
    """
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="selfprog/example.proto", package="selfprog", syntax="proto3"
    )

    def add_message(
        name: str, fields: list[tuple[str, int, int, str]], repeated: bool, oneof: str = ""
    ) -> None:
        message = file.message_type.add(name=name)
        if oneof:
            message.oneof_decl.add(name=oneof)
        for field_name, number, kind, type_name in fields:
            added = message.field.add(name=field_name, number=number, type=kind)  # type: ignore[arg-type]
            added.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if type_name:
                added.type_name = f".selfprog.{type_name}"
            if oneof:
                added.oneof_index = 0

    add_message("BytesList", [("value", 1, field.TYPE_BYTES, "")], repeated=True)
    add_message("FloatList", [("value", 1, field.TYPE_FLOAT, "")], repeated=True)
    add_message("Int64List", [("value", 1, field.TYPE_INT64, "")], repeated=True)
    lists = ["BytesList", "FloatList", "Int64List"]
    snake = ["bytes_list", "float_list", "int64_list"]
    feature = [(snake[i], i + 1, field.TYPE_MESSAGE, lists[i]) for i in range(3)]
    add_message("Feature", feature, repeated=False, oneof="kind")
    entry = [("key", 1, field.TYPE_STRING, ""), ("value", 2, field.TYPE_MESSAGE, "Feature")]
    add_message("FeatureEntry", entry, repeated=False)
    add_message("Features", [("feature", 1, field.TYPE_MESSAGE, "FeatureEntry")], repeated=True)
    add_message("Example", [("features", 1, field.TYPE_MESSAGE, "Features")], repeated=False)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("selfprog.Example"))


_Example = _build_example_class()


def _int(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError("a bool")
    number = operator.index(value)  # takes NumPy's integers too, and no floats
    if not -(2**63) <= number < 2**63:
        raise ValueError("outside 64 bits")
    return number


def _float(value: Any) -> float:
    if isinstance(value, bool | str | bytes):
        raise TypeError("not a number")
    number = float(value)
    if math.isfinite(number):
        struct.pack("<f", number)  # OverflowError where 32 bits cannot hold it
    return number


def _text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError("not a str")
    # Model text may hold lone surrogates; plain UTF-8 refuses them.
    return value.encode("utf-8", "surrogatepass")


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError("not bytes")
    return bytes(value)


def _many(convert: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    def convert_all(values: Any) -> list[Any]:
        if isinstance(values, str | bytes | Mapping):
            raise TypeError("not a list")
        # An array's own tolist is a hundred times quicker than iterating over it.
        return [convert(value) for value in (values.tolist() if hasattr(values, "tolist") else values)]

    return convert_all


def _one(convert: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda value: [convert(value)]


def _decode_text(value: bytes) -> str:
    return value.decode("utf-8", "surrogatepass")


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class _Codec:
    """How values of a kind become a feature list, and back."""

    list_name: str
    many: bool
    encode: Callable[[Any], list[Any]]
    decode_one: Callable[[Any], Any]

    @property
    def pack(self) -> Callable[[list[Any]], bytes]:
        """Values to a serialised Feature."""
        return _PACK[self.list_name]


_PACK: dict[str, Callable[[list[Any]], bytes]] = {
    "bytes_list": example_wire.of_bytes,
    "float_list": example_wire.of_floats,
    "int64_list": example_wire.of_ints,
}

_CODECS = {
    Kind.INT: _Codec("int64_list", False, _one(_int), _same),
    Kind.FLOAT: _Codec("float_list", False, _one(_float), _same),
    Kind.TEXT: _Codec("bytes_list", False, _one(_text), _decode_text),
    Kind.BYTES: _Codec("bytes_list", False, _one(_bytes), _same),
    Kind.INTS: _Codec("int64_list", True, _many(_int), _same),
    Kind.FLOATS: _Codec("float_list", True, _many(_float), _same),
    Kind.TEXTS: _Codec("bytes_list", True, _many(_text), _decode_text),
}


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def encode(record: Mapping[str, Any], schema: Schema) -> bytes:
    """A serialised tf.train.Example; fields that are missing or None are left out.

    Raises RecordError for a field the schema does not have or a value that its kind cannot hold.
    """
    entries = []
    for name in sorted(record):
        kind, value = schema.get(name), record[name]
        if kind is None:
            raise RecordError(f"field {name!r} (value {_brief(value)}) is not one of {', '.join(schema)}")
        if value is not None:
            try:
                entries.append(_entry(name, kind, value))
            except (TypeError, ValueError, OverflowError) as error:
                raise RecordError(f"field {name!r} is {kind.name}, got {_brief(value)}: {error}") from error
    return example_wire.example(entries)


def _entry(name: str, kind: Kind, value: Any) -> bytes:
    codec = _CODECS[kind]
    return example_wire.entry(name, codec.pack(codec.encode(value)))


def encode_all(records: Iterable[Mapping[str, Any]], schema: Schema) -> Iterator[bytes]:
    """What `encode` makes of each record, in a fraction of the time where records have the same fields."""
    left = iter(records)
    while batch := [*itertools.islice(left, TOGETHER)]:
        yield from _encode_batch(batch, schema)


def _encode_batch(batch: list[Mapping[str, Any]], schema: Schema) -> list[bytes]:
    names = sorted(batch[0])
    if {*map(len, batch)} == {len(names)}:
        with contextlib.suppress(KeyError, TypeError, ValueError, OverflowError):  # other fields, or refused
            columns = [_column(name, schema[name], [*map(itemgetter(name), batch)]) for name in names]
            return example_wire.examples(len(batch), columns)
    return [encode(record, schema) for record in batch]


# Kinds whose values are usually of one type -> this type, and how a column of them is written.
_USUAL: dict[Kind, tuple[type, Callable[[str, list[Any]], example_wire.Column]]] = {
    Kind.TEXT: (str, example_wire.texts),
    Kind.INT: (int, example_wire.ints),
    Kind.FLOAT: (float, example_wire.floats),
}


def _column(name: str, kind: Kind, values: list[Any]) -> example_wire.Column:
    types = {*map(type, values)}
    usual, write = _USUAL.get(kind, (None, None))
    if write is not None and types == {usual}:
        return write(name, values)
    if types == {type(None)}:
        return ()
    return ([b"" if value is None else _entry(name, kind, value) for value in values],)


def decode(data: bytes, schema: Schema) -> dict[str, Any]:
    """The inverse of `encode`: every field of the schema, None where absent.

    Raises RecordError for bytes that are not a tf.train.Example, unknown fields and fields of another kind.
    """
    try:
        found = example_wire.read(data, schema)
    except UnicodeDecodeError:  # reported with its field below
        found = None
    if found is not None:
        return dict.fromkeys(schema) | found
    try:
        example = _Example.FromString(bytes(data))
    except DecodeError as error:
        raise RecordError(f"not a tf.train.Example ({len(data)} bytes): {error}") from error
    record: dict[str, Any] = dict.fromkeys(schema)
    for entry in example.features.feature:
        name = entry.key
        list_name = entry.value.WhichOneof("kind")
        if name not in schema:
            raise RecordError(f"field {name!r} ({list_name}) is not one of {', '.join(schema)}")
        if list_name is None:
            continue  # a feature without a kind is how TensorFlow writes a missing value
        codec = _CODECS[schema[name]]
        values = getattr(entry.value, list_name).value
        if list_name != codec.list_name or not (codec.many or len(values) == 1):
            raise RecordError(
                f"field {name!r} is {schema[name].name}, got {list_name} {_brief(list(values))}"
            )
        try:
            decoded = [codec.decode_one(value) for value in values]
        except UnicodeDecodeError as error:
            raise RecordError(f"field {name!r} is {schema[name].name}, got bytes: {error}") from error
        record[name] = decoded if codec.many else decoded[0]
    return record


def write_tfrecord(path: files.Path, records: Iterable[Mapping[str, Any]], schema: Schema) -> ShardInfo:
    """Writes the records under a temporary name, then renames: `path` is never half a file."""
    with files.open_atomic(path) as file:
        return write_frames(file, encode_all(records, schema))


def read_tfrecord(path: files.Path, schema: Schema) -> Iterator[dict[str, Any]]:
    """The records of a file, in order.

    Raises CorruptRecordError for damage, RecordError (naming file and offset) for a whole record of another
    schema, FileNotFoundError. A file cut exactly between two records is itself a valid file: only a ledger,
    which knows the digest, can tell.
    """
    for offset, data in read_frames(path):
        try:
            yield decode(data, schema)
        except RecordError as error:
            raise RecordError(f"{os.fspath(path)}: record at byte {offset}: {error}") from error
