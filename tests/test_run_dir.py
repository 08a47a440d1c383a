"""A run directory has one layout, gives each stage the right checkpoint, and refuses another configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t5x_selfprog import run_dir
from t5x_selfprog.run_dir import ConfigMismatch, open_run
from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.shards import MissingStage

BINDINGS = {"loop.run.seed": "0", "sample_puzzles.run.temperature": "0.9", "judge_solutions.run.workers": "2"}


def test_every_path_is_where_the_design_says() -> None:
    run = RunDir("RUN")
    names = ("puzzles", "kept", "solutions", "verdicts", "dataset", "checkpoints", "eval")
    assert [run.stage(0, name) for name in names] == [
        f"RUN/iter_000/{folder}"
        for folder in [
            "1_puzzles",
            "2_kept",
            "3_solutions",
            "4_verdicts",
            "5_dataset",
            "6_checkpoints",
            "7_eval",
        ]
    ]
    assert run.stage(12, "eval") == "RUN/iter_012/7_eval"
    assert run.control("human", "dataset") == "RUN/controls/human/5_dataset"
    assert run.base_eval == "RUN/base/7_eval"
    assert run.funnel(1) == "RUN/iter_001/funnel.json"
    assert RunDir("gs://bucket/run").stage(0, "kept") == "gs://bucket/run/iter_000/2_kept"


def test_an_unknown_stage_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"'puzles'.*puzzles"):
        RunDir("RUN").stage(0, "puzles")


def test_sampling_uses_the_newest_checkpoint_and_training_the_chosen_start() -> None:
    run = RunDir("RUN")
    assert run.sampled_from(0, "BASE") == "BASE"
    assert run.sampled_from(2, "BASE") == "RUN/iter_001/6_checkpoints"
    assert run.trained_from(2, "BASE", "base") == "BASE"
    assert run.trained_from(2, "BASE", "previous") == "RUN/iter_001/6_checkpoints"
    assert run.datasets(1) == ["RUN/iter_000/5_dataset", "RUN/iter_001/5_dataset"]


def test_the_same_configuration_continues_and_leaves_the_fingerprint_alone(tmp_path: Path) -> None:
    first = open_run(tmp_path, BINDINGS, "# config\n")
    before = (tmp_path / "fingerprint.json").read_bytes()
    again = open_run(tmp_path, dict(reversed(BINDINGS.items())), "# config\n")
    assert first == again and again.fingerprint == run_dir.fingerprint(BINDINGS)
    assert (tmp_path / "fingerprint.json").read_bytes() == before
    assert (tmp_path / "config.gin").read_text() == "# config\n"


def test_another_configuration_is_refused_showing_every_difference_with_both_values(tmp_path: Path) -> None:
    open_run(tmp_path, BINDINGS, "# old\n")
    (tmp_path / "iter_000").mkdir()
    changed = {**BINDINGS, "sample_puzzles.run.temperature": "1.3", "loop.run.arms": "['human']"}
    del changed["loop.run.seed"]
    with pytest.raises(ConfigMismatch) as caught:
        open_run(tmp_path, changed, "# new\n")
    message = str(caught.value)
    assert "sample_puzzles.run.temperature: there 0.9, now 1.3" in message
    assert "loop.run.arms: there not set, now ['human']" in message
    assert "loop.run.seed: there 0, now not set" in message
    assert "workers: there" not in message
    assert "--run_dir" in message
    assert (tmp_path / "config.gin").read_text() == "# old\n"
    assert json.loads((tmp_path / "fingerprint.json").read_text())["bindings"] == {
        name: BINDINGS[name] for name in BINDINGS if "workers" not in name
    }


@pytest.mark.parametrize(
    "binding",
    [
        "judge_solutions.run.workers",
        "a/judge_solutions.run.workers",
        "WORKERS",
        "MeshConfig.data",
        "Watchdog.abort",
        "Watchdog.stuck_after_s",
        "Profile.steps",
        "Experiment.profile",
        "Experiment.watchdog",
    ],
)
def test_what_cannot_change_results_may_change(tmp_path: Path, binding: str) -> None:
    open_run(tmp_path, {**BINDINGS, binding: "2"})
    (tmp_path / "iter_000").mkdir()
    open_run(tmp_path, {**BINDINGS, binding: "16"})


@pytest.mark.parametrize(
    "binding",
    ["workers_of_fate.run.seed", "run.iterations_per_step", "MODEL", "workers/loop.run.temperature"],
)
def test_a_similar_name_is_not_free(tmp_path: Path, binding: str) -> None:
    open_run(tmp_path, {**BINDINGS, binding: "2"})
    (tmp_path / "iter_000").mkdir()
    with pytest.raises(ConfigMismatch, match="there 2, now 16"):
        open_run(tmp_path, {**BINDINGS, binding: "16"})


def test_a_run_that_made_nothing_yet_holds_nobody_to_its_configuration(tmp_path: Path) -> None:
    open_run(tmp_path, {**BINDINGS, "loop.run.seed": "'a typing error'"}, "# bad\n")
    run = open_run(tmp_path, BINDINGS, "# good\n")
    assert run.fingerprint == run_dir.fingerprint(BINDINGS)
    assert (tmp_path / "config.gin").read_text() == "# good\n"


def test_what_was_measured_is_nothing_that_was_made(tmp_path: Path) -> None:
    open_run(tmp_path, {**BINDINGS, "loop.run.seed": "'a typing error'"})
    for name in ("metrics.jsonl", "goodput.json", "stuck-0.txt", "events/base/x", "profile/operations.json"):
        files.write_atomic(tmp_path / name, "{}")
    open_run(tmp_path, BINDINGS)
    files.write_atomic(tmp_path / "iter_000" / "1_puzzles" / "ledger.json", "{}")
    with pytest.raises(ConfigMismatch):
        open_run(tmp_path, {**BINDINGS, "loop.run.seed": "8"})


def test_reading_a_stage_that_is_not_there_names_path_and_command(tmp_path: Path) -> None:
    with pytest.raises(MissingStage, match=rf"iter_000/3_solutions.*selfprog solve --run_dir={tmp_path}"):
        RunDir(str(tmp_path)).read(0, "solutions")


def test_a_folder_that_is_no_run_and_a_damaged_fingerprint_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run directory"):
        _ = RunDir(str(tmp_path)).fingerprint
    (tmp_path / "fingerprint.json").write_text("{")
    with pytest.raises(UserError, match=r"fingerprint\.json: not JSON"):
        open_run(tmp_path, BINDINGS)
