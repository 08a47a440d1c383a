"""`scripts/quickstart --model`: what it imports and runs, and what it refuses before anything is fetched."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from t5x_selfprog.main import main
from t5x_selfprog.model import device_room, package_file

ROOT = Path(__file__).resolve().parents[1]
# In place of Python: says what it was asked, and imports by making what an import leaves.
RECORDER = """#!/usr/bin/env bash
printf '%s\\n' "$*"
for word in "$@"; do [[ "$word" != --output=* ]] || { mkdir -p "${word#*=}"; touch "${word#*=}/model.json"; }; done
"""


@pytest.fixture
def root(tmp_path) -> Path:
    """A repository of this script and nothing else."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "venv/bin").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/quickstart", tmp_path / "scripts/quickstart")
    for name, text in (("scripts/setup", "#!/bin/sh\n"), ("venv/bin/python", RECORDER)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def quickstart(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "SELFPROG_VENV": str(root / "venv")}
    environment.pop("RUN_DIR", None)
    command = [str(root / "scripts/quickstart"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=root)


def test_a_model_is_imported_once_and_run_and_its_cost_is_said(root):
    first = quickstart(root, "--model=smollm2-135m-instruct", "--gin.Experiment.seed=1")
    fetched, run = first.stdout.splitlines()
    assert "import --model=smollm2-135m-instruct --output=models/smollm2-135m-instruct --to_train" in fetched
    assert "--run_dir=runs/quickstart-smollm2-135m-instruct" in run and run.endswith(
        "--gin.Experiment.seed=1"
    )
    assert "--gin.Experiment.base='models/smollm2-135m-instruct'" in run and "document_start" not in run
    assert "half an hour" in first.stderr and "10 GB" in first.stderr
    assert quickstart(root, "--model=smollm2-135m-instruct", "--gin.Experiment.seed=1").stdout == run + "\n"


@pytest.mark.parametrize("model", ["Qwen/Qwen2.5-Coder-0.5B-Instruct", "downloads/qwen2.5-coder-0.5b.gguf"])
def test_qwen_is_asked_as_it_is_best_asked(model, root):
    assert (
        "--gin.SamplingConfig.document_start=False"
        in quickstart(root, f"--model={model}").stdout.splitlines()[-1]
    )


def test_a_folder_of_ours_is_not_imported_again_and_no_name_is_refused(root):
    (root / "mine").mkdir()
    (root / "mine/model.json").touch()
    (run,) = quickstart(root, "--model=mine").stdout.splitlines()
    assert "--gin.Experiment.base='mine'" in run
    refused = quickstart(root, "--model=")
    assert refused.returncode == 2 and "selfprog models" in refused.stderr and not refused.stdout


def test_what_cannot_be_trained_here_is_not_fetched(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(package_file, "fetched", lambda *_: pytest.fail("it was fetched"))
    monkeypatch.setattr(device_room, "free_host_bytes", lambda: 2**30)
    command = ["import", "--model=smollm2-135m-instruct", f"--output={tmp_path}/x", "--to_train"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "134,515,008 weights does not fit" in said and "free memory" in said and "selfprog models" in said
