"""A study: its grid, what its runs share, its tables and refusals; the runs themselves are made up."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from t5x_selfprog.evaluation import held_out
from t5x_selfprog.evaluation.evaluation import ProblemCount, summarise
from t5x_selfprog.run_dir import open_run
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.study import launch
from t5x_selfprog.study.grid import axes_of, cells
from t5x_selfprog.study.sharing import take_over
from verifier.errors import UserError
from verifier.storage.records import PUZZLE
from verifier.storage.shards import Ledger, LedgerMismatch

AXES = {"base": {"a": [], "b": [], "c": []}, "data": {"all": [], "50": ["Selection.max_pairs=50"]}}


# The grid.


def test_one_seed_of_everything_comes_first_and_ends_before_middles():
    names = [cell.name for cell in cells(AXES, (3, 4))]
    assert len(names) == len(set(names)) == 12
    assert all(name.endswith("seed-3") for name in names[:6])
    assert all("base-b" not in name for name in names[:4])
    last = cells(AXES, (3, 4), ["a.b=1"])[-1]
    assert last.bindings[0] == "a.b=1" and last.bindings[-1] == "Experiment.seed=4"


@pytest.mark.parametrize(
    ("axes", "seeds", "words"),
    [
        ({"a": {}}, (0,), "has no levels"),
        ({"a": {"x/y": []}}, (0,), "'x/y' must be letters"),
        ({"seed": {"0": []}}, (0,), "study.run.seeds"),
        ({"a": {"x": []}}, (), "at least one"),
    ],
)
def test_what_is_no_grid_is_refused(axes, seeds, words):
    with pytest.raises(UserError, match=words):
        cells(axes, seeds)


def test_axes_are_written_as_pairs_or_mappings():
    pairs = (("data", (("all", ()), ("50", ("Selection.max_pairs=50",)))),)
    assert axes_of(pairs) == axes_of(dict(pairs)) == {"data": {"all": (), "50": ("Selection.max_pairs=50",)}}
    with pytest.raises(UserError, match="must be pairs"):
        axes_of(("data", "all"))


# Sharing.

BINDINGS = {
    "Experiment.base": "'base'",
    "Experiment.seed": "0",
    "puzzles/SamplingConfig.temperature": "0.9",
    "solutions/SamplingConfig.temperature": "0.9",
    "evaluation/SamplingConfig.temperature": "0.8",
    "Selection.max_pairs": "100",
    "loop.run.controls": "('human',)",
}


def finished(root: Path, **changes: str) -> tuple[RunDir, dict[str, str]]:
    """A run with its first stages and the base's evaluation done."""
    bindings = BINDINGS | {
        name.replace("__", "/").replace("_D_", "."): value for name, value in changes.items()
    }
    run = open_run(str(root), bindings)
    for name in ("puzzles", "kept", "rejected", "solutions", "verdicts"):
        ledger = Ledger(
            run.stage(0, name), stage=name, schema=PUZZLE, shard_count=1, seed=0, fingerprint=run.fingerprint
        )
        ledger.commit(0, [{"puzzle_id": name, "source": "s"}])
        ledger.finish()
    for folder in (run.base_eval, f"{run.root}/enumerator/7_eval"):
        Path(folder).mkdir(parents=True)
        (Path(folder) / "evaluation.json").write_text("{}")
    return run, bindings


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({"Selection.max_pairs": "50"}, ["first puzzles", "first solutions", "base evaluation"]),
        ({"OptimizerConfig.learning_rate": "1"}, ["first puzzles", "first solutions", "base evaluation"]),
        ({"solutions/SamplingConfig.temperature": "1.1"}, ["first puzzles", "base evaluation"]),
        ({"puzzles/SamplingConfig.temperature": "1.1"}, ["base evaluation"]),
        ({"evaluation/SamplingConfig.temperature": "1.1"}, ["first puzzles", "first solutions"]),
        ({"Experiment.seed": "1"}, []),
        ({"something.nobody_thought_of": "1"}, []),
    ],
)
def test_runs_share_what_their_difference_has_no_bearing_on(tmp_path, change, taken):
    donor = finished(tmp_path / "donor")
    bindings = BINDINGS | change
    run = open_run(str(tmp_path / "new"), bindings)
    found = take_over(run, bindings, [donor])
    assert [re.match(r"first puzzles|first solutions|base evaluation", line)[0] for line in found] == taken


def test_what_is_taken_over_belongs_to_the_new_run_and_the_old_one_is_untouched(tmp_path):
    donor, theirs = finished(tmp_path / "donor")
    bindings = BINDINGS | {"Selection.max_pairs": "50"}
    run = open_run(str(tmp_path / "new"), bindings)
    before = {p: p.read_bytes() for p in Path(donor.root).rglob("*") if p.is_file()}
    take_over(run, bindings, [(donor, theirs)])
    for owner, other in ((run, donor), (donor, run)):
        ledger = Ledger(
            owner.stage(0, "kept"),
            stage="kept",
            schema=PUZZLE,
            shard_count=1,
            seed=0,
            fingerprint=owner.fingerprint,
        )
        assert not ledger.pending() and [row["puzzle_id"] for row in ledger] == ["kept"]
        with pytest.raises(LedgerMismatch):
            Ledger(
                owner.stage(0, "kept"), stage="kept", schema=PUZZLE, shard_count=1, seed=0,
                fingerprint=other.fingerprint,
            )  # fmt: skip
    assert before == {p: p.read_bytes() for p in Path(donor.root).rglob("*") if p.is_file()}
    assert take_over(run, bindings, [(donor, theirs)]) == []  # its own by now
    open_run(run.root, bindings)  # and still the same run


def test_an_unfinished_stage_is_not_taken_over(tmp_path):
    donor, theirs = finished(tmp_path / "donor")
    (Path(donor.stage(0, "verdicts")) / "manifest.json").unlink()
    bindings = BINDINGS | {"Selection.max_pairs": "50"}
    taken = take_over(open_run(str(tmp_path / "new"), bindings), bindings, [(donor, theirs)])
    assert not any(line.startswith("first solutions") for line in taken) and len(taken) == 2


# Whole studies.

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
