"""`run --from=RUN`: what a fork takes over, what it does not, and that the first run stays unchanged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from t5x_selfprog import forks, growth
from t5x_selfprog.evaluation import held_out
from t5x_selfprog.run_dir import ConfigMismatch, open_run, saved_bindings
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.study import sharing
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.records import PUZZLE
from verifier.storage.shards import Ledger

FIRST = {
    "Experiment.seed": "0",
    "loop.run.iterations": "2",
    "loop.run.controls": "('unverified', 'human_best')",
    "puzzles/SamplingConfig.temperature": "0.9",
    "solutions/SamplingConfig.temperature": "0.9",
    "finetune.run.epochs": "2",
    "evaluate.run.attempts": "20",
}
ROUND = ("puzzles", "kept", "rejected", "solutions", "verdicts", "dataset")


def make_run(root: Path, bindings: dict[str, str] = FIRST, iterations: int = 2) -> RunDir:
    """What looks like a finished run by its folders."""
    run = open_run(str(root), bindings, "# its configuration\n")

    def ledger(path: str, name: str) -> None:
        made = Ledger(path, stage=name, schema=PUZZLE, shard_count=1, seed=0, fingerprint=run.fingerprint)
        made.commit(0, [{"puzzle_id": path[len(str(root)) :], "source": "s"}])
        made.finish()

    def model(folder: str, number: int | None) -> None:
        files.write_json(files.join(folder, "6_checkpoints", "done.json"), {"step": 1})
        files.write_json(
            files.join(folder, "6_checkpoints", "1", "weights"), {"of": folder[len(str(root)) :]}
        )
        files.write_json(files.join(folder, "7_eval", "evaluation.json"), {"arm": number})

    for number in range(iterations):
        for name in ROUND:
            ledger(run.stage(number, name), name)
        files.write_json(run.funnel(number), {"iteration": number})
        model(run.iteration(number), number)
    for arm in ("unverified", "human_best"):
        ledger(run.control(arm, "dataset"), "dataset")
        model(f"{root}/controls/{arm}", None)
    for folder in (run.base_eval, f"{root}/enumerator/7_eval"):
        files.write_json(files.join(folder, "evaluation.json"), {})
    files.write_json(files.join(run.root, "summary.json"), {})
    held_out.record(run.root, {"split": "test", "arm": "verified", "iteration": 1, "config": run.fingerprint})
    return run


def state(root: str) -> dict[str, tuple[bytes, int]]:
    return {
        str(path): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(Path(root).rglob("*"))
        if path.is_file()
    }


def fork(first: RunDir, child: Path, **changed: str) -> tuple[RunDir, list[str]]:
    bindings = saved_bindings(first) | {name.replace("__", "."): value for name, value in changed.items()}
    run = open_run(child, bindings, "# of the fork\n")
    taken = forks.share(run, bindings, first.root)
    return run, [line.partition(" from ")[0] for line in taken]


@pytest.fixture
def first(tmp_path: Path) -> RunDir:
    return make_run(tmp_path / "first")


ITERATIONS = ["iteration 0", "iteration 0's evaluation", "iteration 1", "iteration 1's evaluation"]


@pytest.mark.parametrize(
    ("changed", "taken"),
    [
        ({"loop__run__controls": "('human',)"}, ["everything"]),
        ({"loop__run__iterations": "4"}, [*ITERATIONS, "base evaluation"]),
        ({"loop__run__iterations": "1"}, [*ITERATIONS[:2], "base evaluation"]),
        # More attempts at held-out problems: only models chosen by such measurements are trained again.
        ({"evaluate__run__attempts": "100"}, ["iteration 0", "iteration 1", "arm unverified"]),
        ({"finetune__run__epochs": "4"}, ["first puzzles", "first solutions", "base evaluation"]),
        (
            {"loop__learn__update": "@grpo.run", "grpo__run__puzzles": "16", "PolicyGradient__kl": "0.0"},
            ["first puzzles", "first solutions", "base evaluation"],
        ),
        ({"puzzles/SamplingConfig.temperature": "1.1"}, ["base evaluation"]),  # an early stage: all later ones are new
        ({"Experiment__seed": "1"}, []),
    ],
)  # fmt: skip
def test_a_fork_takes_what_its_setting_has_no_bearing_on(
    first: RunDir, tmp_path: Path, changed: dict[str, str], taken: list[str]
) -> None:
    run, found = fork(first, tmp_path / "child", **changed)
    assert found == taken
    for line in found:
        if re_number := [word for word in line.split() if word.isdigit()]:
            ledger = Ledger.open(run.stage(int(re_number[0]), "kept"))
            assert [row["puzzle_id"] for row in ledger] == [f"/iter_00{re_number[0]}/2_kept"]
    iterations = int(changed.get("loop__run__iterations", "2"))
    assert len([name for name in files.listdir(run.root) if name.startswith("iter_")]) <= iterations


def test_what_the_child_does_does_not_reach_the_first_run(first: RunDir, tmp_path: Path) -> None:
    before = state(first.root)
    child, _ = fork(first, tmp_path / "child", loop__run__iterations="4")
    assert Path(child.stage(0, "kept"), "ledger.json").read_bytes() != b""
    # A run replaces its files, removes old checkpoints, and sets evaluations aside.
    for path in list(Path(child.root).rglob("*.json")):
        files.write_atomic(path, "{}")
    shutil.rmtree(Path(child.stage(0, "checkpoints")))
    growth.set_aside(child.root, ["iter_001/7_eval"])
    assert state(first.root) == before


def test_a_grown_first_run_does_not_change_what_the_fork_is(first: RunDir, tmp_path: Path) -> None:
    child = tmp_path / "child"
    assert forks.settings(first.root, str(child), several=False) == first.config
    fork(first, child, loop__run__iterations="4")
    growth.grow(first.root, FIRST | {"loop.run.iterations": "9"})
    assert forks.settings(first.root, str(child), several=False) == RunDir(str(child)).config
    shutil.rmtree(first.root)
    assert forks.settings(first.root, str(child), several=False) == RunDir(str(child)).config
    assert Ledger.open(RunDir(str(child)).stage(1, "kept")).manifest()["rows"] == 1  # its own by now


def test_a_fork_of_a_fork(first: RunDir, tmp_path: Path) -> None:
    child, _ = fork(first, tmp_path / "child", loop__run__controls="()")
    files.write_json(files.join(child.root, "summary.json"), {})
    grandchild, taken = fork(child, tmp_path / "grandchild", finetune__run__epochs="4")
    assert taken == ["first puzzles", "first solutions", "base evaluation"]
    assert files.read_json(files.join(grandchild.stage(0, "kept"), "ledger.json"))["fingerprint"] == (
        grandchild.fingerprint
    )
    assert len(held_out.read(grandchild.root)) == 1, "the first run's look at the problems is known here too"


def test_a_fork_killed_while_taking_begins_again(first: RunDir, tmp_path: Path, monkeypatch) -> None:
    linked, number = sharing._link_file, [0]

    def killed_at_the_tenth(source: str, target: str) -> None:
        number[0] += 1
        if number[0] == 10:
            raise KeyboardInterrupt
        linked(source, target)

    monkeypatch.setattr(sharing, "_link_file", killed_at_the_tenth)
    with pytest.raises(KeyboardInterrupt):
        fork(first, tmp_path / "child", loop__run__controls="()")
    assert not (tmp_path / "child" / "iter_000").exists(), "no half of a stage"
    # Nothing is made yet, so it may even become another fork.
    child, taken = fork(first, tmp_path / "child", loop__run__iterations="4")
    assert taken == [*ITERATIONS, "base evaluation"]
    assert sorted(name for name in files.listdir(child.root) if name.startswith(".")) == []


def test_an_iteration_that_was_not_finished_ends_what_is_taken(first: RunDir, tmp_path: Path) -> None:
    files.remove(files.join(first.root, "summary.json"))
    files.remove(files.join(first.stage(0, "checkpoints"), "done.json"))
    _, taken = fork(first, tmp_path / "child", loop__run__controls="()")
    assert taken == ["first puzzles", "first solutions", "base evaluation"], "not iteration 1 without 0"


@pytest.mark.parametrize("what", ["itself", "no run", "another first run", "several"])
def test_what_cannot_be_forked_is_refused(first: RunDir, tmp_path: Path, what: str) -> None:
    child = tmp_path / "child"
    if what == "itself":
        with pytest.raises(UserError, match="is --run_dir itself"):
            forks.settings(first.root, f"{first.root}/.", several=False)
    elif what == "no run":
        with pytest.raises(UserError, match="is not a run directory"):
            forks.settings(str(tmp_path), str(child), several=False)
        assert not child.exists()
    elif what == "several":
        with pytest.raises(UserError, match="for one process"):
            forks.settings(first.root, str(child), several=True)
    else:
        fork(first, child, loop__run__controls="()")
        other = make_run(tmp_path / "other", FIRST | {"Experiment.seed": "1"})
        with pytest.raises(UserError, match=r"was begun from .*first; leave --from out"):
            forks.settings(other.root, str(child), several=False)


def test_a_fork_that_has_begun_is_held_to_its_settings(first: RunDir, tmp_path: Path) -> None:
    fork(first, tmp_path / "child", loop__run__controls="()")
    with pytest.raises(ConfigMismatch, match=r"finetune\.run\.epochs: there 2, now 4"):
        fork(first, tmp_path / "child", finetune__run__epochs="4")
