"""Raw runs in results/ are packed: the same bytes every time, whole, and nothing is lost on the way."""

from __future__ import annotations

import io
import lzma
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from scripts.make import pack_results
from verifier.errors import UserError
from verifier.storage import files

ROOT = Path(__file__).resolve().parent.parent
RAW = {
    "runs/seed-1/base/evaluation.json": b'{"arm": "base"}\n',
    "runs/seed-0/empty.jsonl": b"",
    "runs/seed-0/Ä.json": bytes(range(256)),
    "clean.json": b"{}",
}


def lay(folder: Path, paths: list[str]) -> Path:
    for path in paths:
        files.write_atomic(folder / path, RAW[path])
    files.write_atomic(folder / "table.md", "| a |\n")
    return folder


def test_a_pack_made_twice_has_the_same_bytes_and_holds_the_files(tmp_path: Path) -> None:
    """Whatever the order, the times and the modes of the files."""
    first, second = lay(tmp_path / "a", list(RAW)), lay(tmp_path / "b", list(RAW)[::-1])
    os.utime(second / "clean.json", (1, 1))
    (second / "clean.json").chmod(0o700)
    assert pack_results.pack(first, ["runs", "clean.json"]) == RAW
    pack_results.pack(second, ["clean.json", "runs/seed-0", "runs/seed-1"])
    pack = first / pack_results.NAME
    assert pack.read_bytes() == (second / pack_results.NAME).read_bytes()
    assert pack_results.read(pack) == RAW
    assert sorted(path.name for path in first.iterdir()) == [pack_results.NAME, "table.md"]
    with tarfile.open(pack) as tar:
        about = {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar}
        assert about == {(0, 0, 0, "", "", 0o644)} and tar.getnames() == sorted(RAW)


@pytest.mark.parametrize(
    "pack", sorted(ROOT.glob(f"results/**/{pack_results.NAME}")), ids=lambda path: path.parent.name
)
def test_committed_packs_are_made_so(pack: Path) -> None:
    """Compared before compression, whose bytes are those of a version of xz."""
    assert lzma.decompress(pack.read_bytes()) == pack_results.archive(pack_results.read(pack))


def test_a_command_killed_before_it_removed_the_files_is_repeated(tmp_path: Path) -> None:
    """The pack is there, and so are some of the files; one more has come since."""
    folder = lay(tmp_path, list(RAW))
    pack_results.pack(folder, ["runs"])
    lay(folder, ["runs/seed-0/empty.jsonl", "clean.json"])
    assert pack_results.pack(folder, ["runs", "clean.json"]) == RAW
    assert not (folder / "runs").exists() and pack_results.read(folder / pack_results.NAME) == RAW


def test_a_pack_that_cannot_be_read_back_removes_nothing(tmp_path: Path, monkeypatch) -> None:
    folder = lay(tmp_path, list(RAW))
    whole = pack_results.compressed(RAW)
    other = pack_results.compressed(RAW | {"clean.json": b""})
    assert whole != other
    monkeypatch.setattr(pack_results, "compressed", lambda contents: other)
    with pytest.raises(OSError, match="nothing was removed"):
        pack_results.pack(folder, ["runs", "clean.json"])
    assert all((folder / path).read_bytes() == data for path, data in RAW.items())


@pytest.mark.parametrize("name", ["nowhere", "../elsewhere", ".", pack_results.NAME, "link", "runs"])
def test_what_cannot_be_packed_is_named_and_nothing_changes(name: str, tmp_path: Path) -> None:
    folder = lay(tmp_path / "result", list(RAW))
    files.write_atomic(tmp_path / "elsewhere", b"not ours")
    (folder / "link").symlink_to(folder / "clean.json")
    pack_results.pack(folder, ["runs"])
    files.write_atomic(folder / "runs/seed-0/empty.jsonl", b"other content than what is packed")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=name.strip(".") or "result"):
        pack_results.pack(folder, ["clean.json", name])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_script_says_what_it_did_and_tar_unpacks_it(tmp_path: Path) -> None:
    folder = lay(tmp_path, list(RAW))
    command = [sys.executable, str(ROOT / "scripts/make/pack_results.py")]
    done = subprocess.run([*command, str(folder), "runs"], capture_output=True, text=True, check=True)
    assert f"{pack_results.NAME}: 3 files, {16 + 256} bytes packed" in done.stdout
    failed = subprocess.run([*command, str(folder), "typo"], capture_output=True, text=True)
    assert failed.returncode and failed.stderr.startswith("pack_results: ") and "typo" in failed.stderr
    assert "Traceback" not in failed.stderr
    with tarfile.open(fileobj=io.BytesIO((folder / pack_results.NAME).read_bytes())) as tar:
        tar.extractall(folder, filter="data")
    assert all((folder / path).read_bytes() == data for path, data in RAW.items())
