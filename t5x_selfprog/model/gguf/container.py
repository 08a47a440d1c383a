"""A GGUF file on disk: its metadata, and tensors that are dequantised when opened.

The package `gguf` parses the file and dequantises its number formats. It is an extra (`pip install '.[gguf]'`),
imported only here and only when a file is opened.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np

from t5x_selfprog.model.gguf import metadata as descriptions
from t5x_selfprog.model.tensor_files import DTYPES, OTHER
from verifier.errors import UserError

MAGIC = b"GGUF"
PIECE_BYTES = 16 << 20  # of float32 dequantised at a time
# Default types: these are kept; all others become bfloat16, as the published weights they were made from.
KEPT = {"F64": "F64", "F32": "F32", "F16": "F16", "BF16": "BF16"}
INTEGERS = ("I8", "I16", "I32", "I64")
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


@dataclasses.dataclass(frozen=True)
class QuantizedTensor:
    """A tensor in a GGUF file; nothing is read before `open`.

    Attributes:
      data: its bytes, mapped: rows of whole blocks, or plain numbers where it is not quantised.
      shape: torch's shape.
      dtype: the type that `open` rounds to; OTHER for integers, which are never weights.
      stored_as: the name of its number format.
      undo: turns rows of `data` into float32.
      order: the row of `data` that each row comes from; None if they are in order.
      shift: added to every number.
    """

    data: np.ndarray
    shape: tuple[int, ...]
    dtype: np.dtype
    stored_as: str
    undo: Callable[[np.ndarray], np.ndarray]
    order: np.ndarray | None = None
    shift: float = 0.0

    def pieces(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Blocks of rows as float32, each with its slice of rows; about `PIECE_BYTES` at a time."""
        if len(self.shape) == 1 and self.data.dtype == np.uint8:  # the blocks of a single row cannot be split
            whole = self.undo(self.data[None])[0]
            yield slice(None), (whole if self.order is None else whole[self.order]) + np.float32(self.shift)
            return
        rows = self.shape[0]
        step = max(1, PIECE_BYTES // (4 * max(1, math.prod(self.shape[1:]))))
        for start in range(0, rows, step):
            place = slice(start, min(start + step, rows))
            found = self.undo(self.data[place if self.order is None else self.order[place]])
            yield place, found.reshape(-1, *self.shape[1:]) + np.float32(self.shift)

    def open(self) -> np.ndarray:
        result = np.empty(self.shape, self.dtype)
        for place, numbers in self.pieces():
            with np.errstate(
                over="ignore"
            ):  # what float16 cannot hold becomes infinite, and is refused as such
                result[place] = numbers
        return result


@dataclasses.dataclass(frozen=True)
class Container:
    """One or several GGUF files that make up one model.

    Attributes:
      name: the first file's name, for messages.
      metadata: the first file's keys and values.
      tensors: all tensors, by their names in the files.
      checksums: sha256 and size in bytes of each file as it was read (pieces count as the joined file).
    """

    name: str
    metadata: Mapping[str, Any]
    tensors: Mapping[str, QuantizedTensor]
    checksums: Mapping[str, tuple[str, int]]


def is_gguf(path: str) -> bool:
    """Whether a file starts with GGUF's magic bytes."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


@contextlib.contextmanager
def open_container(
    paths: Sequence[str], dtype: np.dtype | None, sha256: str | None, scratch: str
) -> Iterator[Container]:
    """Opens the model in one GGUF file, in the files of a split model, or in the byte pieces of one file.

    Args:
      paths: the file; one or all files of a split model; or the pieces.
      dtype: the type tensors are rounded to; None keeps floats and rounds quantised tensors to bfloat16.
      sha256: the expected checksum of the (joined) file.
      scratch: a folder with room for a joined file, which is removed afterwards.

    Raises:
      UserError: the file is missing, not GGUF or truncated, its checksum is wrong, pieces are out of order, or the
        package cannot dequantise a tensor.
    """
    for path in paths:
        if not os.path.isfile(path):
            raise UserError(f"--model={path}: no such file")
    if not is_gguf(paths[0]):
        raise UserError(f"{paths[0]}: not a GGUF file, it does not begin with the bytes GGUF")
    with contextlib.ExitStack() as opened:
        if len(paths) > 1 and not any(is_gguf(path) for path in paths[1:]):
            paths = in_order(paths)
            file, found, size = _joined(paths, scratch, opened)
            sources, checksums = [(paths[0], file)], {os.path.basename(paths[0]): (found, size)}
        else:
            paths = _all_parts(paths)
            sources = [(path, opened.enter_context(open(path, "rb"))) for path in paths]
            checksums = {os.path.basename(path): _checksum(file) for path, file in sources}
        sums = [found for found, _ in checksums.values()]
        if sha256 and sha256.lower() not in sums:
            raise UserError(
                f"{paths[0]}: sha256 {', '.join(sums)}, --sha256 says {sha256.lower()}: fetch it again"
            )
        readers = [_read(name, file) for name, file in sources]
        if len(paths) > len(readers):
            _check_end(paths, readers[0])
        described = [
            descriptions.read(reader, name) for (name, _), reader in zip(sources, readers, strict=True)
        ]
        _check_numbers([name for name, _ in sources], described)
        tensors: dict[str, QuantizedTensor] = {}
        for (name, _), reader in zip(sources, readers, strict=True):
            for tensor in reader.tensors:
                if tensor.name in tensors:
                    raise UserError(f"{name}: the tensor {tensor.name} is in another file too")
                tensors[tensor.name] = _tensor(name, tensor, dtype)
        _check_count(paths, described[0], len(tensors))
        yield Container(paths[0], described[0], tensors, checksums)


def in_order(paths: Sequence[str]) -> list[str]:
    """Sorts pieces by the number in their names, because a shell's glob puts part10 before part2."""
    numbers = [[int(n) for n in re.findall(r"\d+", os.path.basename(path))] for path in paths]
    if len({tuple(found) for found in numbers}) < len(paths):
        return list(paths)  # names without a number keep the order given
    return [path for _, path in sorted(zip(numbers, paths, strict=True))]


def _joined(paths: Sequence[str], scratch: str, opened: contextlib.ExitStack) -> tuple[IO[bytes], str, int]:
    """An anonymous file with the pieces one after another, its sha256 and its size in bytes."""
    size = sum(os.path.getsize(path) for path in paths)
    os.makedirs(scratch, exist_ok=True)
    free = shutil.disk_usage(scratch).free
    if free < size:
        raise UserError(
            f"{scratch}: {size:,} bytes are needed to join {len(paths)} pieces, and {free:,} are free"
        )
    file = opened.enter_context(tempfile.TemporaryFile(dir=scratch))  # noqa: SIM115
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as piece:
            while chunk := piece.read(PIECE_BYTES):
                digest.update(chunk)
                file.write(chunk)
    file.flush()
    file.seek(0)
    return file, digest.hexdigest(), size


def _checksum(file: IO[bytes]) -> tuple[str, int]:
    found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # any file has `readinto`
    size = file.tell()
    file.seek(0)
    return found, size


def _all_parts(paths: Sequence[str]) -> list[str]:
    """The files of a split model, found beside the one given. Raises UserError naming those that are missing."""
    match = _SPLIT.search(paths[0])
    if match is None:
        if len(paths) > 1:
            raise UserError(f"{', '.join(paths)}: several complete GGUF files; give those of one model")
        return list(paths)
    stem, count = paths[0][: match.start()], int(match[2])
    parts = [f"{stem}-{i + 1:05}-of-{count:05}.gguf" for i in range(count)]
    if stray := sorted(set(paths) - set(parts)):
        raise UserError(f"{', '.join(stray)}: not a part of the model that {paths[0]} begins")
    if absent := [part for part in parts if not is_gguf(part)]:
        raise UserError(f"{paths[0]} is one of {count} files; absent or damaged: {', '.join(absent)}")
    return parts


def _read(name: str, file: IO[bytes]) -> Any:
    try:
        from gguf import GGMLQuantizationType, GGUFReader
    except ImportError as error:
        raise UserError(
            f"{name}: reading GGUF takes the package gguf ({error}): pip install '.[gguf]'"
        ) from error

    known = {int(kind) for kind in GGMLQuantizationType}

    class Reader(GGUFReader):
        """The package's reader, but ten times as fast on long vocabularies, and checking more.

        It checks for the end of the file, names tensors of unknown types, and refuses tensors that overlap.
        """

        def _build_tensors(self, start_offs: int, fields: list[Any]) -> None:
            for field in fields:
                kind = int(field.parts[4][0])
                if kind not in known:
                    raise UserError(
                        f"{name}: {field.name} is of type {kind}, which the package gguf does not know; there are "
                        f"{', '.join(undoable())}"
                    )
            super()._build_tensors(start_offs, fields)
            end, last = 0, ""
            for tensor in sorted(self.tensors, key=lambda tensor: int(tensor.data_offset)):
                if int(tensor.data_offset) < end:
                    raise ValueError(f"the tensors {last} and {tensor.name} overlap")
                end, last = int(tensor.data_offset) + int(tensor.n_bytes), tensor.name

        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: str | None = None) -> Any:
            kind, count, offset = np.dtype(dtype), int(count), int(offset)
            if offset + kind.itemsize * count > self.data.size:
                raise EOFError(f"{offset + kind.itemsize * count:,}")
            kind = kind.newbyteorder(override_order or self.byte_order)  # type: ignore[arg-type]
            return np.frombuffer(self.data, kind, count, offset)

    try:
        reader = Reader(file)  # type: ignore[arg-type]
    except EOFError as error:
        size = os.fstat(file.fileno()).st_size
        raise UserError(
            f"{name}: cut short or damaged, it has {size:,} bytes but refers to byte {error}; fetch it again"
        ) from error
    except (ValueError, KeyError, IndexError, OverflowError, RecursionError, MemoryError) as error:
        raise UserError(f"{name}: not a readable GGUF file ({error}); fetch it again") from error
    if reader.byte_order == "S":
        raise UserError(f"{name}: written in the other byte order; fetch the usual (little-endian) file")
    return reader


def _tensor(where: str, found: Any, dtype: np.dtype | None) -> QuantizedTensor:
    from gguf.quants import dequantize

    kind = found.tensor_type
    shape = tuple(int(n) for n in reversed(found.shape.tolist()))
    if kind.name in INTEGERS:
        return QuantizedTensor(found.data, shape, OTHER, kind.name, np.asarray)
    if kind.name not in undoable():
        raise UserError(
            f"{where}: {found.name} is of type {kind.name}, which cannot be dequantised; there are "
            f"{', '.join(undoable())}"
        )
    undo = (
        (lambda rows: dequantize(rows, kind)) if kind.name != "F64" else lambda rows: rows.astype(np.float32)
    )
    return QuantizedTensor(found.data, shape, dtype or DTYPES[KEPT.get(kind.name, "BF16")], kind.name, undo)


@functools.cache
def undoable() -> tuple[str, ...]:
    """The number formats that the package can dequantise."""
    from gguf import GGML_QUANT_SIZES
    from gguf.quants import dequantize

    found = ["F64"]
    for kind, (_, size) in GGML_QUANT_SIZES.items():
        if kind.name in INTEGERS or kind.name == "F64":
            continue
        try:
            dequantize(np.zeros((1, size), np.uint8), kind)
        except NotImplementedError:
            continue
        found.append(kind.name)
    return tuple(found)


def _check_end(paths: Sequence[str], reader: Any) -> None:
    """Raises UserError where joined pieces hold more bytes than the model that the first one starts."""
    end = max((tensor.data_offset + tensor.n_bytes for tensor in reader.tensors), default=reader.data_offset)
    surplus = int(reader.data.size) - int(end)
    if surplus > int(reader.alignment):
        raise UserError(
            f"{paths[0]}: {len(paths)} pieces have {surplus:,} bytes more than the model; give each of its pieces once"
        )


def _check_numbers(names: Sequence[str], described: Sequence[Mapping[str, Any]]) -> None:
    """Raises UserError where a file says that it is another part of a split model than its name says."""
    for i, (name, metadata) in enumerate(zip(names, described, strict=True)):
        number, count = metadata.get("split.no", i), metadata.get("split.count", len(names))
        if count not in (0, len(names)) or (count and number != i):
            raise UserError(
                f"{name}: it is part {number + 1} of {count} by what it says, and part {i + 1} of {len(names)} by its "
                f"name; name the parts as they were published (NAME-{number + 1:05}-of-{count:05}.gguf)"
            )


def _check_count(paths: Sequence[str], metadata: Mapping[str, Any], tensors: int) -> None:
    wanted, parts = metadata.get("split.tensors.count"), metadata.get("split.count")
    if wanted is not None and wanted != tensors:
        raise UserError(
            f"{paths[0]}: {tensors} of the model's {wanted} tensors; it was split into {parts} files"
        )
