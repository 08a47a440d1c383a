"""`--model=RUN`: the newest model that the run has finished, whatever else lies beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from t5x_selfprog import main, newest_model
from t5x_selfprog.model.store import SHIPPED
from t5x_selfprog.run_dir import open_run
from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose second iteration learnt nothing and whose third is in training."""
    open_run(tmp_path / "run", {"Experiment.seed": "0"})
    trained, nothing, begun = (tmp_path / "run" / f"iter_00{i}" / "6_checkpoints" for i in range(3))
    shutil.copytree(Path(SHIPPED, "base"), trained)
    (trained / "done.json").write_text('{"step": 3}')
    nothing.mkdir(parents=True)
    (nothing / "done.json").write_text('{"step": 0}')
    begun.mkdir(parents=True)
    (begun / "model.json").write_text("{}")
    return tmp_path / "run"


def test_the_newest_finished_one_is_exported(run: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "out"
    assert main.main(["export", f"--model={run}", f"--output={output}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["parameters"] > 1_000_000
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {path.name for path in output.iterdir()}


def test_a_later_one_takes_its_place(run: Path) -> None:
    assert newest_model.of_run(RunDir(str(run))) == 0
    (run / "iter_002" / "6_checkpoints" / "done.json").write_text('{"step": 3}')
    assert newest_model.folder(str(run)) == str(run / "iter_002" / "6_checkpoints")


def test_a_run_without_a_model_says_how_to_get_one(run: Path, tmp_path: Path, capsys) -> None:
    shutil.rmtree(run / "iter_000")
    assert main.main(["export", f"--model={run}", f"--output={tmp_path / 'out'}"]) == 2
    assert f"selfprog run --run_dir={run}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="finished training"):
        newest_model.folder(str(run))


def test_anything_else_is_left_as_it_was_typed(tmp_path: Path) -> None:
    for path in ("base", str(tmp_path), str(tmp_path / "nowhere"), str(Path(SHIPPED, "base"))):
        assert newest_model.folder(path) == path
