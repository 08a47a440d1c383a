"""`selfprog pack RUN`: writes one file, or pieces of it, from which a run continues elsewhere.

The file is a tar archive compressed with xz. Its first member, pack.json, describes it: format, configuration, the
identity of the base, and the digest of every file, including those that `unpack` rebuilds from others.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import tarfile
from typing import IO, Any

from t5x_selfprog.moving import contents
from t5x_selfprog.moving.blocks import BlockWriter
from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError
from verifier.storage import files

FORMAT = 1
INDEX = "pack.json"


def pack(root: str, output: str, piece_mb: int | None = None) -> list[str]:
    """Packs the run at `root`; returns the files written: `output`, or `output`.00, .01, ... of at most `piece_mb`.

    The run may be unfinished, and another process may be running it: whatever is committed is packed. The same run
    gives the same bytes.

    Raises UserError if there is no run, or if the output is inside it or cannot be written.
    """
    run = RunDir(root)
    _ = run.fingerprint  # there must be one
    if os.path.realpath(output).startswith(os.path.realpath(root) + os.sep):
        raise UserError(f"--output={output}: is inside the run that it packs; put it beside {root}.")
    files.require_place(output, "--output", "run.pack")
    listed, rebuilt = contents.members(root, start_of(root))
    data = {}
    for path in listed:
        with contextlib.suppress(
            FileNotFoundError
        ):  # a run in progress replaces some files and removes others
            data[path] = _read(root, path)
    index = {
        "format": FORMAT,
        "fingerprint": run.fingerprint,
        "base": base_identity(root),
        "files": {path: _digest(content) for path, content in data.items()},
        "rebuilt": {path: _digest(_read(root, path)) for path in rebuilt},
    }
    files.makedirs(os.path.dirname(os.path.abspath(output)))
    with files.open_atomic(output) as raw, BlockWriter(raw) as blocks, _archive(blocks) as archive:
        _add(archive, INDEX, (json.dumps(index, indent=1, sort_keys=True) + "\n").encode())
        for path, content in data.items():
            _add(archive, path, content)
    return [output] if piece_mb is None else _cut(output, piece_mb << 20)


def base_identity(root: str) -> str:
    """The identity of the base's weights, from its evaluation; "" before that."""
    try:
        return files.read_json(os.path.join(RunDir(root).base_eval, "evaluation.json"))["checkpoint"]
    except FileNotFoundError:
        return ""


def start_of(root: str) -> str:
    """The value of Experiment.start in the run's configuration."""
    bindings = files.read_json(os.path.join(root, "fingerprint.json"))["bindings"]
    found = [value for name, value in bindings.items() if name.endswith("Experiment.start")]
    return found[0].strip("'\"") if found else "base"


def _cut(path: str, size: int) -> list[str]:
    pieces: list[str] = []
    with open(path, "rb") as whole:
        while piece := whole.read(size):
            pieces.append(f"{path}.{len(pieces):02d}")
            files.write_atomic(pieces[-1], piece)
    files.remove(path)
    more = len(pieces)
    while files.exists(
        f"{path}.{more:02d}"
    ):  # of an earlier pack, which `unpack PATH.*` would take for this one's
        files.remove(f"{path}.{more:02d}")
        more += 1
    return pieces


def _archive(stream: Any) -> tarfile.TarFile:
    return tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(data)
    archive.addfile(about, io.BytesIO(data))


def _read(root: str, path: str) -> bytes:
    file: IO[bytes]
    with open(os.path.join(root, path), "rb") as file:
        return file.read()


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
