"""Runs that were packed long ago and are committed here go on: their saved configuration is still theirs."""

import json
import lzma
import tarfile
from importlib import import_module

import pytest

import gin
from t5x_selfprog import gin_files, run_dir
from verifier.errors import UserError

PACKS = sorted((gin_files.GIN_FOLDER.parent / "results").rglob("run.pack"))
NAMES = ("fingerprint.json", "config.gin")


@pytest.fixture(params=PACKS, ids=lambda path: path.parent.name)
def run(request, tmp_path):
    """A run's folder with these two files of a pack, and something that it has made."""
    import_module("t5x_selfprog.loop")
    with lzma.open(request.param) as raw, tarfile.open(fileobj=raw, mode="r|") as archive:
        for member in archive:
            if member.name in NAMES:
                (tmp_path / member.name).write_bytes(archive.extractfile(member).read())
            if all((tmp_path / name).exists() for name in NAMES):
                break
    (tmp_path / "summary.txt").touch()
    yield tmp_path
    gin.clear_config()


def test_a_run_from_before_goes_on_under_its_own_fingerprint(run):
    """It recorded bindings that are free today, and under its own parameters' names."""
    saved = json.loads((run / "fingerprint.json").read_text())
    config = str(run / "config.gin")
    gin_files.load([config], [], saved=config)
    assert run_dir.counted(gin_files.bindings()) == run_dir.counted(saved["bindings"]) != {}
    assert run_dir.open_run(str(run), gin_files.bindings()).fingerprint == saved["fingerprint"]
    gin_files.load([config], ["finetune.run.epochs=77"], saved=config)
    with pytest.raises(UserError, match=r"finetune\.run\.epochs: there 3, now 77") as refused:
        run_dir.open_run(str(run), gin_files.bindings())
    assert str(refused.value).count(": there ") == 1


def test_there_are_such_runs():
    assert len(PACKS) >= 2
