"""Reads PyTorch's old checkpoint files (`pytorch_model.bin`) without PyTorch and without trusting them.

Such a file is a zip archive (PyTorch 1.6 and later) of one pickle and the raw bytes of every tensor. A pickle can
call anything, so our unpickler knows the few names that a dictionary of tensors needs and refuses all others.
"""

import collections
import math
import pickle
import struct
import zipfile
from typing import Any, NamedTuple

from t5x_selfprog.model.tensor_files import DTYPES, StoredTensor
from verifier.errors import UserError

_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
}
_LOCAL_HEADER_BYTES = 30


class _Storage(NamedTuple):
    """A member of the archive: consecutive numbers of one type."""

    dtype: str
    offset: int
    numbers: int


def read_torch_file(path: str) -> dict[str, StoredTensor]:
    """The tensors of a file written by `torch.save(state_dict)`.

    Raises:
      UserError: another kind of file, the format before PyTorch 1.6, or a pickle that asks for more than tensors.
    """
    remedy = "load it with PyTorch and save it as safetensors"
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path}: cut short, or in PyTorch's format before 1.6: fetch it again, or {remedy}")
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        if "data.pkl" not in members:
            raise UserError(f"{path}: a zip archive without data.pkl, so no PyTorch checkpoint; {remedy}")
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise UserError(f"{path}: written on a big-endian machine; {remedy}")
        try:
            with archive.open(members["data.pkl"]) as file:
                found = _Unpickler(file, path, members).load()
        except (pickle.UnpicklingError, ValueError, KeyError, TypeError, EOFError, AttributeError) as error:
            raise UserError(f"{path}: not a plain dictionary of tensors ({error}); {remedy}") from error
    if not isinstance(found, dict) or not all(isinstance(value, StoredTensor) for value in found.values()):
        raise UserError(f"{path}: not a plain dictionary of tensors; {remedy}")
    return {str(name): value for name, value in found.items()}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, path: str, members: dict[str, zipfile.ZipInfo]):
        super().__init__(file)
        self._path, self._members = path, members

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        known = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count = pid
        if kind != "storage" or dtype not in DTYPES:
            raise pickle.UnpicklingError(f"it holds a {kind} of {dtype}")
        info = self._members[f"data/{key}"]
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != count * DTYPES[dtype].itemsize:
            raise pickle.UnpicklingError(f"data/{key} has {info.file_size} bytes for {count} x {dtype}")
        # Only the header in front of a member's bytes says where they begin.
        with open(self._path, "rb") as file:
            file.seek(info.header_offset)
            name_bytes, extra_bytes = struct.unpack("<26x2H", file.read(_LOCAL_HEADER_BYTES))
        return _Storage(dtype, info.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes, count)

    def _tensor(self, storage: _Storage, first: int, shape: Any, strides: Any, *_: Any) -> StoredTensor:
        shape, strides = tuple(map(int, shape)), tuple(map(int, strides))
        dtype = DTYPES[storage.dtype]
        last = first + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        if first < 0 or min((*shape, *strides, 0)) < 0 or (math.prod(shape) and last >= storage.numbers):
            raise pickle.UnpicklingError(
                f"a tensor of shape {shape} reaches beyond its {storage.numbers} numbers"
            )
        row_major = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
        steps = None if strides == row_major else tuple(stride * dtype.itemsize for stride in strides)
        offset = storage.offset + first * dtype.itemsize
        return StoredTensor(self._path, offset, shape, dtype, storage.dtype, steps)
