"""A whole study: its tables, fits, page and refusals; the runs themselves are made up."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from t5x_selfprog.study import launch
from tests.study.fake_runs import FakeRuns, grid, study
from verifier.errors import UserError


@pytest.fixture
def runs(monkeypatch):
    fake = FakeRuns()
    monkeypatch.setattr(launch.subprocess, "run", fake)
    return fake


def test_a_study_ends_in_tables_fits_and_a_page(finished):
    root, summary, commands = finished
    assert len(commands) == 15 and summary["missing"] == []
    lines = list(csv.DictReader(io.StringIO((root / "table.csv").read_text())))
    assert len(lines) == 5 * 3 * 3  # levels, arms, ks
    verified = [line for line in lines if line["arm"] == "verified" and line["k"] == "1"]
    assert {line["seeds"] for line in verified} == {"3"} and {line["pairs"] for line in verified} >= {
        "25.0",
        "400.0",
    }
    assert all(float(line["low"]) <= float(line["pass_at_k"]) <= float(line["high"]) for line in lines)
    assert all(float(line["p_holm"]) >= float(line["p_value"]) for line in lines if line["p_holm"])
    fits = json.loads((root / "fits.json").read_text())
    law = next(f for f in fits if f["arm"] == "verified" and f["size"] == "pairs" and f["k"] == 1)
    assert law["law"] is not None and law["law"]["rise"]["low"] > 0
    refused = next(f for f in fits if f["arm"] == "human" and f["size"] == "pairs" and f["k"] == 1)
    assert refused["law"] is None and "no rise shown" in refused["why"]
    markdown = (root / "table.md").read_text()
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
    two = {"data": {str(n): (f"Selection.max_pairs={n}",) for n in (25, 400)}}
    runs.fail_on = "data-400_seed-1"
    with pytest.raises(UserError, match=r"1 of 4 runs failed; see .*data-400_seed-1\.log"):
        study(tmp_path, axes=two, seeds=(0, 1))
    assert "Not finished, and in no line above: data-400_seed-1" in (tmp_path / "table.md").read_text()
    runs.fail_on, runs.commands = "", []
    assert study(tmp_path, axes=two, seeds=(0, 1))["missing"] == [] and len(runs.commands) == 1
    runs.commands = []
    study(tmp_path, axes=two, seeds=(0, 1, 2))  # it may grow
    assert len(runs.commands) == 2


def test_one_run_a_machine(tmp_path, runs, capsys):
    listed = launch.show(str(tmp_path), grid())["cells"]
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
