"""A whole study: its tables, fits, page and refusals; the runs themselves are made up."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from t5x_selfprog.evaluation import held_out
from t5x_selfprog.evaluation.evaluation import ProblemCount, summarise
from t5x_selfprog.study import launch
from verifier.errors import UserError

PROBLEMS = 60


class FakeRuns:
    """Stands for `selfprog run`: writes a finished run whose arms gain with the amount of data."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.fail_on = ""
        self.pages = True

    def __call__(self, command, **_):
        self.commands.append(command)
        root = Path(
            next(word for word in command if word.startswith("--run_dir=")).removeprefix("--run_dir=")
        )
        outcome = type("Done", (), {"returncode": 1 if self.fail_on and self.fail_on in root.name else 0})
        if outcome.returncode:
            return outcome
        flags = dict(
            word.removeprefix("--gin.").split("=", 1) for word in command if word.startswith("--gin.")
        )
        pairs = int(flags.get("Selection.max_pairs", 800))
        rng = np.random.default_rng(int(flags["Experiment.seed"]))
        gain = 0.25 * np.log(pairs / 10)
        arms = [("base", None, root / "base", 0.1), ("verified", 0, root / "iter_000", 0.1 + gain / 3)]
        controls = re.findall(r"'(from_\w+|human)'", flags.get("loop.run.controls", "('human',)"))
        arms += [(arm, 0, root / "controls" / arm, 0.15) for arm in controls if "/" not in arm]
        for arm, iteration, folder, level in arms:
            solved = rng.binomial(100, np.clip(level * np.linspace(0, 2, PROBLEMS), 0, 1))
            counts = [ProblemCount(f"p{i}", f"P{i}", "g", 100, int(c)) for i, c in enumerate(solved)]
            about = {
                "arm": arm,
                "iteration": iteration,
                "seed": int(flags["Experiment.seed"]),
                "split": "test",
            }
            (folder / "7_eval").mkdir(parents=True, exist_ok=True)
            (folder / "7_eval" / "evaluation.json").write_text(json.dumps(about | summarise(counts, {})))
            held_out.record(str(root), {**about, "config": root.name})
            if iteration is not None:
                (folder / "6_checkpoints").mkdir(exist_ok=True)
                (folder / "6_checkpoints" / "done.json").write_text(json.dumps({"pairs": pairs, "step": 10}))
        (root / "summary.json").write_text("{}")
        if self.pages:
            (root / "report").mkdir(exist_ok=True)
            (root / "report" / "index.html").write_text("its page")
        return outcome


@pytest.fixture
def runs(monkeypatch):
    fake = FakeRuns()
    monkeypatch.setattr(launch.subprocess, "run", fake)
    return fake


def study(root: Path, **more):
    data = {"data": {str(n): (f"Selection.max_pairs={n}",) for n in (25, 50, 100, 200, 400)}}
    return launch.run(
        study_dir=str(root), **{"gin_file": "quickstart", "axes": data, "seeds": (0, 1, 2)} | more
    )


def test_a_study_ends_in_tables_fits_and_a_page(tmp_path, runs):
    summary = study(tmp_path)
    assert len(runs.commands) == 15 and summary["missing"] == []
    lines = list(csv.DictReader(io.StringIO((tmp_path / "table.csv").read_text())))
    assert len(lines) == 5 * 3 * 3  # levels, arms, ks
    verified = [line for line in lines if line["arm"] == "verified" and line["k"] == "1"]
    assert {line["seeds"] for line in verified} == {"3"} and {line["pairs"] for line in verified} >= {
        "25.0",
        "400.0",
    }
    assert all(float(line["low"]) <= float(line["pass_at_k"]) <= float(line["high"]) for line in lines)
    assert all(float(line["p_holm"]) >= float(line["p_value"]) for line in lines if line["p_holm"])
    fits = json.loads((tmp_path / "fits.json").read_text())
    law = next(f for f in fits if f["arm"] == "verified" and f["size"] == "pairs" and f["k"] == 1)
    assert law["law"] is not None and law["law"]["rise"]["low"] > 0
    refused = next(f for f in fits if f["arm"] == "human" and f["size"] == "pairs" and f["k"] == 1)
    assert refused["law"] is None and "no rise shown" in refused["why"]
    markdown = (tmp_path / "table.md").read_text()
    assert "verified 0 x3" in markdown and "15 configurations" in markdown and "no law; no rise" in markdown
    page = Path(summary["report"]).read_text()
    assert "<svg" in page and "Content-Security-Policy" in page and "../runs/data-25_seed-0/report" in page


def test_only_pages_that_are_there_are_linked(tmp_path, runs):
    study(tmp_path, axes={"data": {"25": ("Selection.max_pairs=25",)}}, seeds=(0,))
    runs.pages = False
    summary = study(tmp_path, axes={"data": {"25": ("Selection.max_pairs=25",)}}, seeds=(0, 1))
    page = Path(summary["report"])
    assert re.findall(r'href="(\.\./[^"]+)"', page.read_text()) == [
        "../runs/data-25_seed-0/report/index.html"
    ]
    assert "data-25_seed-1" in page.read_text()


def test_the_same_command_goes_on_and_repairs(tmp_path, runs):
    runs.fail_on = "data-400_seed-1"
    with pytest.raises(UserError, match=r"1 of 15 runs failed; see .*data-400_seed-1\.log"):
        study(tmp_path)
    assert "Not finished, and in no line above: data-400_seed-1" in (tmp_path / "table.md").read_text()
    runs.fail_on, runs.commands = "", []
    assert study(tmp_path)["missing"] == [] and len(runs.commands) == 1
    runs.commands = []
    study(tmp_path, seeds=(0, 1, 2, 3))  # it may grow
    assert len(runs.commands) == 5


def test_one_run_a_machine(tmp_path, runs, capsys):
    listed = study(tmp_path, list_only=True)["cells"]
    assert not runs.commands and len(listed) == 15
    assert capsys.readouterr().out.count("--cell=data-") == 15
    study(tmp_path, only=listed[3])
    assert len(runs.commands) == 1 and f"--run_dir={tmp_path}/runs/{listed[3]}" in runs.commands[0]
    with pytest.raises(UserError, match="no such run"):
        study(tmp_path, only="data-1_seed-0")


def test_equal_compute_sets_the_steps(tmp_path, runs):
    study(tmp_path, seeds=(0,), train_flops=1e12)
    (steps,) = {word for command in runs.commands for word in command if "finetune.run.steps" in word}
    assert int(steps.rpartition("=")[2]) == pytest.approx(1e12 / (6 * 5.2e6 * 4 * 512), rel=0.1)


def test_levels_teach_each_other(tmp_path, runs):
    axes = {"base": {"small": (), "large": ("finetune.run.epochs=9",)}}
    study(tmp_path, axes=axes, seeds=(0,), transfer="base")
    taught = [command for command in runs.commands if any("sources" in word for word in command)]
    assert len(runs.commands) == 4 and len(taught) == 2
    assert any("'from_large'" in word and f"{tmp_path}/runs/base-large_seed-0" in word for word in taught[0])
    matrix = list(csv.reader(io.StringIO((tmp_path / "transfer.csv").read_text())))
    assert matrix[0][1:] == ["small", "large"] and all("[" in cell for row in matrix[1:] for cell in row[1:])
    with pytest.raises(UserError, match="'size' is no axis"):
        study(tmp_path, transfer="size")
