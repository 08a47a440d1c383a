"""Reads and writes safetensors files piece by piece.

The header says where each tensor's bytes are. `StoredTensor.open` maps only those, so that a pass over a model holds
one tensor in memory and never the whole model. The library's own readers return whole tensors, and its writer needs all
of them at once.
"""

import dataclasses
import json
import math
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from verifier.errors import UserError

DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
OTHER = np.dtype("V1")  # number formats unknown to NumPy (8-bit floats and smaller)
FLOATS = tuple(DTYPES[name] for name in ("F64", "F32", "F16", "BF16"))
NAMES = {dtype: name for name, dtype in DTYPES.items()}
ROUNDINGS = {"float32": DTYPES["F32"], "bfloat16": DTYPES["BF16"], "float16": DTYPES["F16"]}
CHUNK_BYTES = 64 << 20  # converted and written at a time
TILE = 128  # a square of this side stays in cache while it is transposed
MAX_HEADER_BYTES = 100 << 20  # the format's own limit


def dtype_named(name: str) -> np.dtype:
    """The dtype that `--dtype` names. Raises UserError listing the choices."""
    if name not in ROUNDINGS:
        raise UserError(f"--dtype={name}: choose from {', '.join(ROUNDINGS)}")
    return ROUNDINGS[name]


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file; nothing is read before `open`.

    Attributes:
      path, offset: the file, and the position of the tensor's first byte.
      shape: its dimensions.
      dtype: `OTHER` for a number format unknown to NumPy.
      stored_as: the file's name for the format.
      strides: in bytes; None if the tensor is stored row by row.
    """

    path: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype
    stored_as: str
    strides: tuple[int, ...] | None = None

    def open(self) -> np.ndarray:
        """The tensor, mapped read-only; its memory belongs to the page cache and is released with the array."""
        if not math.prod(self.shape):
            return np.zeros(self.shape, self.dtype)
        if self.strides is None:
            return np.memmap(self.path, self.dtype, "r", self.offset, self.shape)
        steps = zip(self.shape, self.strides, strict=True)
        extent = 1 + sum((n - 1) * stride for n, stride in steps) // self.dtype.itemsize
        flat = np.memmap(self.path, self.dtype, "r", self.offset, (extent,))
        return np.lib.stride_tricks.as_strided(flat, self.shape, self.strides, writeable=False)


def read_safetensors(path: str) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors of a safetensors file by name, and its metadata.

    Raises:
      UserError: not a safetensors file, or a truncated one.
    """
    size = os.path.getsize(path)
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(size - 8, MAX_HEADER_BYTES):
                raise ValueError(f"its header claims {length:,} bytes, the file has {size:,}")
            header = json.loads(file.read(length))
        metadata = header.pop("__metadata__", {})
        tensors = {name: _entry(path, 8 + length, entry) for name, entry in header.items()}
        end, last = 0, ""
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            begin, behind = entry["data_offsets"]
            if behind > begin and 8 + length + begin < end:
                raise ValueError(f"the tensors {last} and {name} overlap")
            end, last = max(end, 8 + length + behind), name
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise UserError(f"{path}: not a safetensors file ({error}); fetch or copy it again") from error
    if end > size:
        raise UserError(f"{path}: cut short, it has {size:,} of {end:,} bytes; fetch or copy it again")
    return tensors, metadata


def _entry(path: str, base: int, entry: Mapping) -> StoredTensor:
    shape, name = tuple(map(int, entry["shape"])), str(entry["dtype"])
    begin, end = entry["data_offsets"]
    dtype = DTYPES.get(name, OTHER)
    if begin < 0 or end < begin or (dtype != OTHER and end - begin != math.prod(shape) * dtype.itemsize):
        raise ValueError(f"a tensor of shape {shape} and type {name} lies at bytes {begin} to {end}")
    return StoredTensor(path, base + begin, shape, dtype, name)


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """A tensor to be written; `parts` yields the arrays it consists of, in order."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    parts: Callable[[], Iterable[np.ndarray]]

    @property
    def num_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def write_safetensors(
    path: str,
    tensors: list[TensorSpec],
    metadata: Mapping[str, str],
    observe: Callable[[TensorSpec, Iterator[np.ndarray]], Iterator[np.ndarray]] | None = None,
    finish: Callable[[], Mapping[str, str]] | None = None,
) -> None:
    """Writes tensors in the order given, using about `CHUNK_BYTES` of memory, and renames the complete file into place.

    Args:
      observe: passes a tensor's chunks (in its dtype) through, so that the caller sees every byte written.
      finish: returns metadata known only at the end, with the keys of `metadata` and values of the same length.
    """
    header = _header(tensors, metadata)
    temporary = path + ".tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(header)
            for tensor in tensors:
                chunks = (chunk for part in tensor.parts() for chunk in in_chunks(part, tensor.dtype))
                written = 0
                for chunk in chunks if observe is None else observe(tensor, chunks):
                    file.write(chunk.reshape(-1).view(np.uint8).data)
                    written += chunk.nbytes
                if written != tensor.num_bytes:
                    raise ValueError(f"{tensor.name}: {written} bytes written, {tensor.num_bytes} declared")
            if finish is not None:
                final = _header(tensors, finish())
                if len(final) != len(header):
                    raise ValueError("the final metadata does not have the length reserved for it")
                file.seek(0)
                file.write(final)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


def _header(tensors: list[TensorSpec], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    offset = 0
    for tensor in tensors:
        entries[tensor.name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + tensor.num_bytes],
        }
        offset += tensor.num_bytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # keeps the data aligned for readers that map it
    return struct.pack("<Q", len(text)) + text


def in_chunks(array: np.ndarray, dtype: np.dtype) -> Iterator[np.ndarray]:
    """An array in row order as contiguous pieces of `dtype`, each of about `CHUNK_BYTES` (at least one row)."""
    if array.ndim == 0:
        array = array.reshape(1)
    row_bytes = math.prod(array.shape[1:]) * max(dtype.itemsize, array.dtype.itemsize)
    rows = max(1, CHUNK_BYTES // max(1, row_bytes))
    for start in range(0, len(array), rows):
        yield _contiguous(array[start : start + rows], dtype)


def all_finite(array: np.ndarray) -> bool:
    """Whether no number is NaN or infinite; looks at about `CHUNK_BYTES` at a time."""
    if array.ndim == 0:
        array = array.reshape(1)
    rows = max(1, CHUNK_BYTES // max(1, math.prod(array.shape[1:]) * array.dtype.itemsize))
    return all(bool(np.isfinite(array[i : i + rows]).all()) for i in range(0, len(array), rows))


def _contiguous(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """np.ascontiguousarray, but by tiles (twice as fast) where source and result differ in their fastest axis."""
    runs = min(range(array.ndim), key=lambda axis: (array.shape[axis] == 1, abs(array.strides[axis])))
    if runs == array.ndim - 1:
        return np.ascontiguousarray(array, dtype)
    result = np.empty(array.shape, dtype)
    for i in range(0, array.shape[runs], TILE):
        for j in range(0, array.shape[-1], TILE):
            tile: Any = (*(slice(None),) * runs, slice(i, i + TILE), ..., slice(j, j + TILE))
            result[tile] = array[tile]
    return result
