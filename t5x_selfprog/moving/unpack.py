"""`selfprog unpack FILE ... --run_dir=DIR`: restores a packed run, ready for the command that started it.

Everything is checked in a folder beside DIR before DIR appears. When the run continues, weights that were left behind
are trained again from the same pairs: `mark_for_training` tells stage 6 which.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from typing import IO, Any, cast

from t5x_selfprog.growth import TABLE, set_aside
from t5x_selfprog.moving import contents
from t5x_selfprog.moving.pack import FORMAT, INDEX
from t5x_selfprog.run_layout import CONTROLS, ENDED, RunDir
from verifier.errors import UserError
from verifier.storage import files


def unpack(
    pieces: Sequence[str], root: str, *, go_on: bool = False, base: str | None = None
) -> dict[str, Any]:
    """Restores a packed run to `root`, which must not exist yet; returns the content of pack.json.

    Args:
      pieces: the file, or all its pieces in any order.
      go_on: moves the end of the run (its control arms and its table) to `earlier/`, so that iterations can be added.
      base: a model folder that must be the base of the run.

    Raises:
      UserError: the pack has another format or another base, or is damaged or incomplete; nothing is left at `root`.
    """
    if files.exists(root) and not (files.is_folder(root) and not files.listdir(root)):
        raise UserError(f"--run_dir={root}: is there already; give a folder that is not.")
    partial = os.path.abspath(root) + ".unpacking"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        index = _extract(sorted(pieces, key=_natural), partial, base)
        for shard, digest in index["rebuilt"].items():
            contents.restore_attempts(partial, shard)
            if _digest_of(os.path.join(partial, shard)) != digest:
                raise UserError(
                    f"{shard}: made again from its verdicts, it is not what was packed; the pack was made by another "
                    "version of the project. Unpack it with that one."
                )
        mark_for_training(partial, go_on)
        if go_on:
            set_aside(partial, [CONTROLS, *TABLE])
        if files.is_folder(root):
            os.rmdir(root)  # checked above to be empty
        os.rename(partial, root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return index


def mark_for_training(root: str, go_on: bool) -> None:
    """Makes stage 6 retrain the models whose weights later stages need, and keeps their records.

    Those are the newest model, unless all that is to be sampled from it has been, and control arms not yet evaluated.
    """
    run = RunDir(root)
    finished = files.exists(files.join(root, "summary.json"))
    ends = files.exists(files.join(root, ENDED)) and not go_on  # and measures the last model
    again = (
        []
        if finished
        else [folder for folder in _trained(files.join(root, CONTROLS)) if not _has_weights(folder)]
    )
    newest = contents.newest_trained(root)
    if newest is not None and (go_on or not finished) and (ends or not _followed(run, newest)):
        folder = run.stage(newest, "checkpoints")
        again += [folder] * (not _has_weights(folder))
    for folder in again:
        os.rename(os.path.join(folder, contents.DONE), os.path.join(folder, contents.PACKED_DONE))


def _followed(run: RunDir, iteration: int) -> bool:
    """Whether the last iteration has sampled all its puzzles and solutions, and has pairs to learn from.

    One that learns nothing makes no model: what comes after it samples from the same weights again.
    """
    last = run.iterations()[-1]
    sampled = (
        files.exists(files.join(run.stage(last, name), "manifest.json")) for name in ("puzzles", "solutions")
    )
    dataset = files.join(run.stage(last, "dataset"), "manifest.json")
    return (
        last > iteration and all(sampled) and files.exists(dataset) and files.read_json(dataset)["rows"] > 0
    )


def _trained(root: str) -> list[str]:
    return sorted(
        folder
        for folder, _, names in os.walk(root)
        if contents.DONE in names and contents.CHECKPOINTS.search(folder + "/")
    )


def _has_weights(folder: str) -> bool:
    return any(name.isdigit() for name in os.listdir(folder))


def _extract(pieces: Sequence[str], target: str, base: str | None) -> dict[str, Any]:
    """Writes the members of a pack under `target`, checking each digest."""
    named = ", ".join(pieces)
    try:
        with (
            _Joined(pieces) as raw,
            lzma.open(cast(IO[bytes], raw)) as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            members = _members(tar)
            index = _index(next(members, ("", b"")), named, base)
            missing = dict(index["files"])
            for name, data in members:
                if missing.pop(name, None) != hashlib.sha256(data).hexdigest():
                    raise UserError(
                        f"{named}: {name} is damaged, or does not belong there; copy the pack again."
                    )
                files.makedirs(os.path.dirname(os.path.join(target, name)))
                files.write_atomic(os.path.join(target, name), data)
    except (EOFError, lzma.LZMAError, tarfile.TarError) as error:
        raise UserError(
            f"{named}: not a whole pack ({error}). Name all its pieces, as `selfprog pack` printed them."
        ) from error
    if missing:
        first = sorted(missing)[0]
        raise UserError(f"{named}: incomplete, {len(missing)} files are missing, {first} the first of them.")
    return index


def _index(member: tuple[str, bytes], named: str, base: str | None) -> dict[str, Any]:
    name, data = member
    if name != INDEX:
        raise UserError(f"{named}: not made by `selfprog pack` (it begins with {name or 'nothing'!r}).")
    index = _read_index(data)
    if index is None:
        raise UserError(f"{named}: its {INDEX} is damaged; copy the pack again.")
    if index["format"] != FORMAT:
        raise UserError(
            f"{named}: a pack of format {index['format']}, and this version reads {FORMAT}; install the version of the "
            "project that made it, or pack the run again with this one."
        )
    for shard in index["rebuilt"]:
        _require_inside(shard)
        if not contents.REBUILT.fullmatch(shard):
            raise UserError(f"{shard}: not a name that `selfprog pack` writes.")
    if base is not None and index["base"]:
        from t5x_selfprog.model import store

        found = store.stored_identity(base)
        if found != index["base"]:
            raise UserError(
                f"--base={base}: has identity {found}, and the run was made from {index['base']}; give that base."
            )
    return index


def _read_index(data: bytes) -> dict[str, Any] | None:
    """The content of pack.json; None if it is not what `pack` writes in any format."""
    try:
        index = json.loads(data)
    except ValueError:
        return None
    kinds = {"format": int, "files": dict, "rebuilt": dict, "base": str, "fingerprint": str}
    if not isinstance(index, dict) or not isinstance(index.get("format"), int):
        return None
    whole = all(isinstance(index.get(name), kind) for name, kind in kinds.items())
    return index if whole or index["format"] != FORMAT else None


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        file = archive.extractfile(member)
        if file is None:
            raise UserError(f"{member.name}: not a name that `selfprog pack` writes.")
        _require_inside(member.name)
        yield member.name, file.read()


def _require_inside(name: str) -> None:
    if name.startswith("/") or ".." in name.split("/"):
        raise UserError(f"{name}: not a name that `selfprog pack` writes.")


class _Joined:
    """Reads several files in a row as if they were one."""

    def __init__(self, paths: Sequence[str]):
        self._paths = list(paths)
        self._file: IO[bytes] | None = None

    def __enter__(self) -> _Joined:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, size: int = -1) -> bytes:
        while True:
            if self._file is None:
                if not self._paths:
                    return b""
                path = self._paths.pop(0)
                try:
                    self._file = open(path, "rb")  # noqa: SIM115 (closed here or in __exit__)
                except OSError as error:
                    raise UserError(
                        f"{path}: there is no such file to read ({error.strerror}); name the pieces that are there."
                    ) from None
            data = self._file.read(size)
            if data:
                return data
            self._file.close()
            self._file = None


def _natural(path: str) -> list[Any]:
    """A sort key that puts .2 before .10, in case somebody renamed the pieces."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path)]


def _digest_of(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
