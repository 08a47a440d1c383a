"""Files of attempts and verdicts on the command line: JSON lines, or TFRecord where the name ends in .tfrecord."""

import contextlib
import json
import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from verifier.errors import UserError
from verifier.storage import files

JUDGED = frozenset(["outcome", "detail", "cpu_s", "peak_mb", "answer", "isolation", "verifier_version"])
SCREENED = frozenset(["ok", "reason", "detail", "answer_type", "cpu_s", "tried", "raised", "plain"])
STANDARD = "-"  # standard input or output, as JSON lines


class BadRow(UserError):
    """A line of the input is not what it should be; the message names file, line and fault."""


def is_tfrecord(path: str) -> bool:
    return path.endswith((".tfrecord", ".tfrecords"))


def read_rows(path: str, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a file, each checked to have text under every name of `texts`.

    Raises BadRow, FileNotFoundError; records.CorruptRecordError and RecordError for a TFRecord file.
    """
    for place, row in _read_tfrecord(path) if is_tfrecord(path) else _read_json_lines(path):
        for name in texts:
            if not isinstance(row.get(name), str):
                found = f"has {row[name]!r:.60} for" if name in row else "has no"
                raise BadRow(f"{path}, {place}: {found} {name!r}, which must be a text")
        yield row


def _read_json_lines(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with contextlib.nullcontext(sys.stdin.buffer) if path == STANDARD else files.open_read(path) as lines:
        for number, line in enumerate(lines, start=1):
            if line.isspace():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as e:  # ValueError: no JSON, or no UTF-8
                raise BadRow(f"{path}, line {number}: not JSON: {e}") from e
            if not isinstance(row, dict):
                raise BadRow(f"{path}, line {number}: must be an object, is {line[:60]!r}")
            yield f"line {number}", row


def _read_tfrecord(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    from verifier.storage import records  # protobuf: only where it is needed

    schema = {**records.PUZZLE, **records.VERDICT}
    for number, row in enumerate(records.read_tfrecord(path, schema), start=1):
        yield f"record {number}", {name: value for name, value in row.items() if value is not None}


def read_beside(
    path: str, texts: Sequence[str], ours: Container[str], output: str
) -> Iterator[dict[str, Any]]:
    """As `read_rows`, with fields renamed where `ours`, which are added to every row, have the same name: `answer`
    becomes `input_answer`.

    Rows judged or screened before (they have all of our fields) are judged or screened anew. Raises BadRow where a
    field would be lost: the other name is taken, or `output` is a TFRecord file, which has no place for it.
    """
    if is_tfrecord(path):  # its fields are ours
        yield from read_rows(path, texts)
        return
    for number, row in enumerate(read_rows(path, texts), start=1):
        yield out_of_the_way(row, ours, f"{path}, row {number}", whole=not is_tfrecord(output))


def out_of_the_way(
    row: Mapping[str, Any], ours: Container[str], place: str, *, whole: bool = True
) -> dict[str, Any]:
    """The row with fields named like `ours` under other names.

    Raises BadRow, naming `place`, where one would be lost: the other name is taken, or the row is not kept `whole`.
    """
    moved = dict(row)
    if moved.keys() >= JUDGED or moved.keys() >= SCREENED:
        return moved
    for name in row:
        if name in ours:
            other = f"input_{name}"
            if other in row or not whole:
                why = (
                    f"there is {other!r} too" if other in row else "a TFRecord file has no place for another"
                )
                raise BadRow(f"{place}: {name!r} is a field of ours, and {why}; rename it")
            moved[other] = moved.pop(name)
    return moved


def write_rows(path: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes verdict rows. The file appears, whole, once the last row is written.

    A TFRecord file holds the fields of a verdict record (records.VERDICT); others are left out.
    """
    if is_tfrecord(path):
        from verifier.storage import records

        schema = records.VERDICT
        kept = ({name: value for name, value in row.items() if name in schema} for row in rows)
        records.write_tfrecord(path, kept, schema)
    elif path == STANDARD:
        for row in rows:
            print(json.dumps(row), flush=True)
    else:
        with files.open_atomic(path) as file:
            for row in rows:
                file.write(json.dumps(row).encode("ascii") + b"\n")
