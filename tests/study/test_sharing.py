"""What runs of a study take over from one another, and to whom it belongs afterwards."""

import re
from pathlib import Path

import pytest

from t5x_selfprog.run_dir import open_run
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.study.sharing import take_over
from verifier.storage.records import PUZZLE
from verifier.storage.shards import Ledger, LedgerMismatch

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
