"""A run continues under settings that only ask for more, and is refused under others, whatever was set aside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t5x_selfprog import growth
from t5x_selfprog.evaluation import held_out
from t5x_selfprog.run_dir import ConfigMismatch, begun_with_base, is_finished, open_run, saved_bindings
from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError
from verifier.storage import files

BINDINGS = {
    "loop.run.iterations": "2",
    "loop.run.controls": "('unverified',)",
    "evaluate.run.attempts": "20",
    "sample_solutions.run.attempts": "8",
    "Experiment.seed": "0",
    "Experiment.workers": "2",
}
MADE = (
    "base/7_eval/evaluation.json", "iter_000/5_dataset/manifest.json", "iter_000/7_eval/evaluation.json",
    "iter_001/1_puzzles/manifest.json",
    "controls/unverified/5_dataset/manifest.json", "controls/unverified/7_eval/evaluation.json",
    "enumerator/7_eval/evaluation.json", "summary.json", "summary.txt", "table.md", "ended.json",
)  # fmt: skip


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    open_run(tmp_path, BINDINGS)
    for name in MADE:
        files.write_atomic(tmp_path / name, json.dumps({"made": name}))
    return tmp_path


def grown(root: Path, **changed: str) -> list[str]:
    bindings = BINDINGS | {name.replace("__", "."): value for name, value in changed.items()}
    more = growth.grow(str(root), bindings)
    open_run(root, bindings)
    return more


def there(root: Path) -> set[str]:
    return {name for name in MADE if (root / name).exists()}


def test_more_iterations_set_arms_and_table_aside_and_keep_the_rest(finished: Path) -> None:
    before = RunDir(str(finished)).fingerprint
    assert grown(finished, loop__run__iterations="4") == ["4 iterations instead of 2"]
    assert there(finished) == {name for name in MADE if name.startswith(("base", "iter", "enumerator"))}
    kept = finished / "earlier" / "part_000" / "controls" / "unverified" / "7_eval" / "evaluation.json"
    assert json.loads(kept.read_text())["made"] == "controls/unverified/7_eval/evaluation.json"
    assert RunDir(str(finished)).fingerprint == before  # its ledgers were written under it
    assert saved_bindings(RunDir(str(finished)))["loop.run.iterations"] == "4"


def test_more_arms_keep_those_that_there_are(finished: Path) -> None:
    assert grown(finished, loop__run__controls="('unverified', 'human')") == ["arms human"]
    ends = ("summary.json", "summary.txt", "table.md", "ended.json")
    assert there(finished) == {name for name in MADE if name not in ends}


def test_more_attempts_evaluate_again(finished: Path) -> None:
    assert grown(finished, evaluate__run__attempts="100") == [
        "100 attempts at each held-out problem instead of 20"
    ]
    assert there(finished) == {
        "iter_000/5_dataset/manifest.json", "iter_001/1_puzzles/manifest.json",
        "controls/unverified/5_dataset/manifest.json", "enumerator/7_eval/evaluation.json",
    }  # fmt: skip


def test_more_attempts_at_puzzles_keep_the_puzzles_and_set_apart_what_was_learnt(finished: Path) -> None:
    made = (
        "iter_000/2_kept/manifest.json",
        "iter_000/3_solutions/manifest.json",
        "iter_001/1_puzzles/manifest.json",
    )
    for name in made[:2]:
        files.write_atomic(finished / name, json.dumps({"made": name}))
    look = {"split": "test", "arm": "verified", "iteration": 0, "config": "c"}
    for entry in (look, look | {"arm": "base", "iteration": None}):
        held_out.record(str(finished), entry)
    assert grown(finished, sample_solutions__run__attempts="32") == [
        "32 attempts at each puzzle instead of 8"
    ]
    assert there(finished) == {"base/7_eval/evaluation.json", "enumerator/7_eval/evaluation.json"}
    assert [(finished / name).exists() for name in made] == [True, False, False]
    aside = finished / "earlier" / "part_000"
    assert all((aside / name).exists() for name in made[1:])
    held_out.record(str(finished), look)  # of the model that is trained now
    assert (
        "evaluated 3 times in this run, by 2 configurations: base 1, verified 2"
        in held_out.notes(str(finished))[0]
    )
    with pytest.raises(ConfigMismatch):
        grown(finished, sample_solutions__run__attempts="8")


def test_fewer_iterations_end_a_run_that_has_not_begun_more(finished: Path) -> None:
    assert grown(finished, loop__run__iterations="4") == ["4 iterations instead of 2"]
    assert grown(finished) == ["2 iterations instead of 4"]
    assert there(finished) == {name for name in MADE if name.startswith(("base", "iter", "enumerator"))}


def test_an_arm_that_was_not_evaluated_may_go(finished: Path) -> None:
    assert grown(finished, loop__run__controls="('unverified', 'human')") == ["arms human"]
    files.write_atomic(finished / "controls" / "human" / "5_dataset" / "manifest.json", "{}")
    assert grown(finished) == ["human left out"]
    assert not (finished / "controls" / "human").exists()
    assert (finished / "controls" / "unverified" / "7_eval" / "evaluation.json").exists()


def test_a_run_grows_from_a_base_that_has_moved_and_goes_on_comparing_its_weights(tmp_path: Path) -> None:
    there, here = {"Experiment.base": "'there'"}, {"Experiment.base": "'here'"}
    run = open_run(tmp_path, BINDINGS | there)
    files.write_atomic(tmp_path / "iter_000" / "5_dataset" / "manifest.json", "{}")
    more = BINDINGS | here | {"loop.run.iterations": "4"}
    assert growth.grow(str(tmp_path), more) == []  # nothing says which weights they were
    with pytest.raises(ConfigMismatch):
        open_run(tmp_path, more)
    files.write_json(str(tmp_path / "content.json"), {"base weights": "w"})
    assert growth.grow(str(tmp_path), more) == ["4 iterations instead of 2"]
    open_run(tmp_path, more)
    assert begun_with_base(run) == "there" and growth.grow(str(tmp_path), more) == []


def test_what_grew_twice_is_written_down_twice(finished: Path) -> None:
    grown(finished, loop__run__iterations="3")
    grown(finished, loop__run__iterations="4")
    history = json.loads((finished / "grown.json").read_text())
    assert [change["loop.run.iterations"] for change in history] == [["2", "3"], ["3", "4"]]


@pytest.mark.parametrize(
    "changed",
    [
        {"loop__run__iterations": "1"},
        {"evaluate__run__attempts": "10"},
        {"loop__run__controls": "('human',)"},
        {"loop__run__controls": "()"},
        {"Experiment__seed": "1"},
        {"loop__run__iterations": "4", "Experiment__seed": "1"},
    ],
)
def test_less_or_other_is_refused_and_touches_nothing(finished: Path, changed: dict[str, str]) -> None:
    with pytest.raises(ConfigMismatch, match="--from="):
        grown(finished, **changed)
    assert there(finished) == set(MADE) and not (finished / "earlier").exists()


def test_the_same_settings_and_free_ones_are_no_growth(finished: Path) -> None:
    assert grown(finished, Experiment__workers="8") == []
    assert there(finished) == set(MADE)
    assert is_finished(finished, BINDINGS)
    assert not is_finished(finished, BINDINGS | {"loop.run.iterations": "3"})


def test_a_growth_cut_off_before_its_settings_were_written_is_done_by_the_next_command(
    finished: Path,
) -> None:
    growth.set_aside(str(finished), ["controls", *growth.TABLE])
    assert grown(finished, loop__run__iterations="4") == ["4 iterations instead of 2"]
    assert (finished / "earlier" / "part_000" / "controls").is_dir()


def test_an_empty_directory_grows_nothing(tmp_path: Path) -> None:
    open_run(tmp_path, BINDINGS)
    assert grown(tmp_path, loop__run__iterations="4") == []
    assert saved_bindings(RunDir(str(tmp_path)))["loop.run.iterations"] == "4"


def test_models_whose_weights_a_pack_left_behind_are_not_measured_anew(finished: Path) -> None:
    """Said before the base is measured again and what there was is set aside."""
    trained = [
        finished / place / "6_checkpoints" for place in ("iter_000", "iter_001", "controls/unverified")
    ]
    for folder in trained:
        files.write_json(folder / "done.json", {"step": 3, "identity": "i"})
        files.write_json(folder / "model.json", {})
    more = BINDINGS | {"evaluate.run.attempts": "100"}
    with pytest.raises(
        UserError, match=r"100 attempts at each held-out problem instead of 20 means"
    ) as raised:
        growth.require_possible(str(finished), more)
    said = str(raised.value)
    assert "the weights of 2 are not there" in said and "`selfprog pack` leaves them behind" in said
    assert str(trained[0]) in said and str(trained[2]) in said and "leave evaluate.run.attempts at 20" in said
    assert str(trained[1]) not in said, "it was not measured"
    assert there(finished) == set(MADE)
    (trained[0] / "3").mkdir()
    with pytest.raises(UserError, match="the weights of 1 are not there"):
        growth.require_possible(str(finished), more)
    growth.require_possible(str(finished), more | {"loop.run.iterations": "4"})  # arms are trained anew
    (trained[2] / "3").mkdir()
    growth.require_possible(str(finished), more)
    growth.require_possible(str(finished), BINDINGS | {"loop.run.iterations": "4"})
