#!/usr/bin/env python3
"""Packs the raw files of a result into FOLDER/raw.tar.xz and removes them beside it; tables and pages stay readable.

  scripts/make/pack_results.py results/quick_study runs                      a study: its folder of runs
  scripts/make/pack_results.py results/quickstart base iter_000 clean.json   a run: files and folders by name
  tar -xJf results/quick_study/raw.tar.xz -C results/quick_study             unpacks them again

The same files give the same bytes: names are sorted, and times, owners and modes are left out. Files that are packed
already stay in the pack, so a command that was killed can be repeated.
"""

from __future__ import annotations

import argparse
import io
import lzma
import os
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from verifier.errors import UserError
from verifier.storage import files

NAME = "raw.tar.xz"


def archive(contents: Mapping[str, bytes]) -> bytes:
    """A tar archive, not yet compressed, of files by their relative paths."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(contents):
            member = tarfile.TarInfo(path)  # mode 0644, owner 0 without a name, time 0
            member.size = len(contents[path])
            tar.addfile(member, io.BytesIO(contents[path]))
    return made.getvalue()


def compressed(contents: Mapping[str, bytes]) -> bytes:
    return lzma.compress(archive(contents), preset=9)


def read(pack: Path, ending: str = "") -> dict[str, bytes]:
    """The files of a pack (a run.pack too) whose paths end so.

    Raises OSError or tarfile.TarError where there is no whole pack.
    """
    found = {}
    with tarfile.open(pack, "r:xz") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name.endswith(ending) else None
            if file is not None:
                found[member.name] = file.read()
    return found


def pack(folder: Path, names: list[str]) -> dict[str, bytes]:
    """Packs the named files and folders of `folder`, and removes them once the pack has been read back.

    Returns what the pack holds. Raises UserError, before anything is written, for a name that is neither there nor
    packed, for what is no plain file, and for a file that differs from the packed one of its path.
    """
    target = folder / NAME
    packed = read(target) if target.exists() else {}
    found: dict[str, bytes] = {}
    for name in names:
        of_name = {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder, name)}
        if not of_name and not any(path == name or path.startswith(f"{name}/") for path in packed):
            raise UserError(f"{folder / name}: there is no such file or folder; name one of {folder}.")
        found |= of_name
    for path, data in found.items():
        if packed.get(path, data) != data:
            raise UserError(
                f"{folder / path}: differs from the file of this path in {target}; unpack or remove that pack first."
            )
    wanted = packed | found
    files.write_atomic(target, compressed(wanted))
    if read(target) != wanted:
        raise OSError(f"{target}: does not hold what was packed; nothing was removed")
    for path in found:
        (folder / path).unlink()
    for name in names:
        for root, _, _ in os.walk(folder / name, topdown=False):
            os.rmdir(root)
    return wanted


def _files(folder: Path, name: str) -> Iterator[Path]:
    named = folder / name
    if named == folder / NAME or folder.resolve() not in named.resolve().parents:
        raise UserError(f"{named}: name a file or folder inside {folder}, other than its pack.")
    for path in [named, *named.rglob("*")] if named.is_dir() else [named]:
        if path.is_symlink() or (path.exists() and not (path.is_file() or path.is_dir())):
            raise UserError(f"{path}: is not a plain file; put the file itself there.")
        if path.is_file():
            yield path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="of a result, as results/quick_study")
    parser.add_argument("names", nargs="+", help="files and folders in it")
    options = parser.parse_args()
    held = pack(options.folder, options.names)
    size = (options.folder / NAME).stat().st_size
    print(
        f"{options.folder / NAME}: {len(held)} files, {sum(map(len, held.values()))} bytes packed into {size}"
    )


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"pack_results: {error}")
