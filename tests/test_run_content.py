"""A run belongs to the data it was begun with, not to the paths of the data."""

import json
import shutil
from pathlib import Path

import pytest

import gin
import t5x_selfprog.loop  # noqa: F401 (declares what the gin files configure)
from t5x_selfprog import gin_files, named_data
from t5x_selfprog.model import store
from t5x_selfprog.run_content import is_of_the_same_content, require_same_content
from t5x_selfprog.run_dir import ConfigMismatch, noted_base, open_run
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.study.sharing import take_over

SHIPPED = Path(store.resolve("base"))


@pytest.fixture
def data(tmp_path):
    """A base model and a folder of problems, both copies that the test may change."""
    base, problems = tmp_path / "model", tmp_path / "problems"
    shutil.copytree(SHIPPED, base)
    problems.mkdir()
    (problems / "puzzles.json").write_text("[]")
    (problems / "split.json").write_text("{}")
    return base, problems


@pytest.fixture
def run(tmp_path, data):
    """A run that has made something."""
    made = RunDir(str(tmp_path / "run"))
    require_same_content(made, *map(str, data))
    (tmp_path / "run" / "base").mkdir()
    return made


def change_puzzles(base: Path, problems: Path) -> None:
    (problems / "puzzles.json").write_text("[ ]")


def change_split(base: Path, problems: Path) -> None:
    (problems / "split.json").write_text("{ }")


def change_tokenizer(base: Path, problems: Path) -> None:
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    (base / "tokenizer.json").write_text(json.dumps(tokenizer, indent=3))


def change_weights(base: Path, problems: Path) -> None:
    path = base / "weights.safetensors"
    before = store.stored_identity(str(base))
    path.write_bytes(path.read_bytes()[:-2] + b"\x00\x3f")  # the last bfloat16 is 0.5 now
    assert store.stored_identity(str(base)) != before


def test_the_same_data_goes_on_wherever_it_lies(tmp_path, data, run):
    require_same_content(run, *map(str, data))
    moved = tmp_path / "elsewhere"
    shutil.move(data[0], moved)
    require_same_content(run, str(moved), str(data[1]))


def bindings(base: Path | str) -> dict[str, str]:
    return {"Experiment.base": repr(str(base)), "Experiment.seed": "0"}


@pytest.mark.parametrize("noted_by", ["content", "evaluation"])
def test_a_run_goes_on_with_its_base_in_another_place(tmp_path, data, noted_by):
    """As after `unpack` on another machine; packs older than content.json have only the base's evaluation."""
    base, problems = data
    made = open_run(tmp_path / "run", bindings(base))
    if noted_by == "content":
        require_same_content(made, str(base), str(problems))
    evaluation = tmp_path / "run" / "base" / "7_eval" / "evaluation.json"
    evaluation.parent.mkdir(parents=True)
    evaluation.write_text(json.dumps({"checkpoint": store.stored_identity(str(base))}))
    moved = tmp_path / "elsewhere"
    shutil.move(base, moved)
    before = made.fingerprint
    for _ in range(2):
        again = open_run(tmp_path / "run", bindings(moved), f"Experiment.base = '{moved}'\n")
        require_same_content(again, str(moved), str(problems))
    assert again.fingerprint == before and str(moved) in Path(again.config).read_text()
    with pytest.raises(ConfigMismatch, match=r"Experiment\.seed: there 0, now 1"):
        open_run(tmp_path / "run", bindings(moved) | {"Experiment.seed": "1"})
    change_weights(moved, problems)
    open_run(tmp_path / "run", bindings(moved))
    with pytest.raises(
        ConfigMismatch, match=rf"whose weights are {noted_base(made)}; at '.*elsewhere' there is"
    ):
        require_same_content(again, str(moved), str(problems))


def test_a_base_that_cannot_be_compared_is_not_taken_for_the_same(tmp_path, data):
    base, problems = data
    made = open_run(tmp_path / "run", bindings(base))
    require_same_content(made, str(base), str(problems))
    (tmp_path / "run" / "base").mkdir()
    open_run(tmp_path / "run", bindings("nowhere"))
    with pytest.raises(ConfigMismatch, match="nothing that could be compared"):
        require_same_content(made, "nowhere", str(problems))


def test_another_place_is_another_run_where_nothing_says_what_lay_there(tmp_path, data):
    made = open_run(tmp_path / "run", bindings(data[0]))
    (Path(made.root) / "iter_000").mkdir()
    with pytest.raises(ConfigMismatch, match=r"Experiment\.base: there"):
        open_run(tmp_path / "run", bindings("elsewhere"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_puzzles, "puzzles.json: there"),
        (change_split, "split.json: there"),
        (change_tokenizer, "base tokenizer.json: there"),
        (change_weights, "base weights: there"),
    ],
)
def test_other_data_under_a_run_is_refused_and_named(data, run, change, named):
    assert is_of_the_same_content(run, *map(str, data))
    change(*data)
    assert not is_of_the_same_content(run, *map(str, data))
    with pytest.raises(ConfigMismatch, match=named):
        require_same_content(run, *map(str, data))


def test_where_nothing_was_made_yet_other_data_is_welcome(tmp_path, data):
    empty = RunDir(str(tmp_path / "empty"))
    require_same_content(empty, *map(str, data))
    change_puzzles(*data)
    require_same_content(empty, *map(str, data))
    assert is_of_the_same_content(empty, *map(str, data))


def test_a_study_takes_nothing_over_from_a_run_of_other_data(tmp_path, data, run):
    for folder in ("base", "enumerator"):
        evaluation = Path(run.root) / folder / "7_eval" / "evaluation.json"
        evaluation.parent.mkdir(parents=True, exist_ok=True)
        evaluation.write_text("{}")
    bindings = {"Experiment.base": repr(str(data[0])), "Experiment.problems": repr(str(data[1]))}
    for name, change in (("same", None), ("changed", change_puzzles)):
        if change:
            change(*data)
        mine = RunDir(str(tmp_path / name))
        Path(mine.root).mkdir()
        (Path(mine.root) / "fingerprint.json").write_text(json.dumps({"fingerprint": "x"}))
        taken = take_over(mine, bindings, [(run, bindings)])
        assert bool(taken) == (change is None)


@pytest.mark.parametrize("kind", ["tutorial", "pairs", "a run"])
def test_what_else_a_configuration_names_is_data_too(tmp_path, data, kind):
    """A tutorial in P3's format, a file of external pairs, and the pairs of another run."""
    path, changed = {
        "tutorial": (tmp_path / "tutorial", "puzzles.json"),
        "pairs": (tmp_path / "pairs.txt", ""),
        "a run": (tmp_path / "other", "iter_000/5_dataset/manifest.json"),
    }[kind]
    held = path / changed if changed else path
    held.parent.mkdir(parents=True, exist_ok=True)
    held.write_text("[]")
    made, where = RunDir(str(tmp_path / "run")), (*map(str, data), {"what.it.is": str(path)})
    require_same_content(made, *where)
    (tmp_path / "run" / "base").mkdir()
    require_same_content(made, *where)
    held.write_text("[1]")
    with pytest.raises(ConfigMismatch, match=r"what\.it\.is: there \w{16}, now \w{16}"):
        require_same_content(made, *where)


def test_a_configuration_says_what_else_it_names():
    flags = [
        "SolvePrompt.tutorial='mine'",
        "loop.run.controls=('codex_best',)",
        "control_dataset.run_control.sources={'codex': 'pairs.txt.gz', 'unused': 'x'}",
    ]
    try:
        gin_files.load(["quickstart"], flags)
        assert named_data.besides_base_and_problems() == {
            "SolvePrompt.tutorial": "mine",
            "control_dataset.run_control.sources['codex']": "pairs.txt.gz",
        }
        gin_files.load(["quickstart"], [])
        assert named_data.besides_base_and_problems() == {}
    finally:
        gin.clear_config()
