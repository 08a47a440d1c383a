"""The layout of a run directory is spelt in one module, and its paths are what the directory holds."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import t5x_selfprog
from t5x_selfprog import run_layout
from t5x_selfprog.run_layout import RunDir, iteration_name, iteration_number, stage_folder

ROOT = Path(t5x_selfprog.__file__).parent
SPELT = re.compile(r"(^|/|_)iter_(\d|\*|$)|(^|/)[1-7]_[a-z]+(/|$)")


def constants(source: str) -> Iterator[str]:
    """Strings without white space, including parts of f-strings: names and paths, not prose."""
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and not re.search(r"\s", node.value)
        ):
            yield node.value


def test_no_other_module_spells_the_layout():
    found = {
        (path.relative_to(ROOT).as_posix(), text)
        for path in ROOT.rglob("*.py")
        for text in constants(path.read_text())
        if SPELT.search(text) and path.name != "run_layout.py"
    }
    # A default that gin users see, because the profiler takes stages as they type them.
    assert found == {("telemetry/capture.py", "6_checkpoints")}


def test_what_it_looks_for_is_what_the_layout_spells():
    texts = set(constants(Path(run_layout.__file__).read_text()))
    assert {text for text in texts if SPELT.search(text)} == {
        "iter_", "iter_*", *(folder for folder, _ in run_layout.STAGES.values()),
    }  # fmt: skip
    assert list(constants("f'{a}/iter_{n:03d}/x'; 'of 6_checkpoints or so'")) == ["/iter_", "/x", "03d"]


@pytest.mark.parametrize("number", [0, 7, 999, 1000])
def test_iterations_and_their_folders(number):
    assert iteration_number(iteration_name(number)) == number


@pytest.mark.parametrize("name", ["iter_", "iter_x", "iter_000x", "xiter_000", "iter_-1", "base"])
def test_other_folders_are_no_iterations(name):
    assert iteration_number(name) is None


def test_a_run_lists_what_is_in_it(tmp_path):
    run = RunDir(str(tmp_path))
    assert run.iterations() == [] and run.controls() == []
    for path in (run.stage(10, "kept"), run.stage(2, "eval"), run.control("human", "eval"), run.base_eval):
        Path(path).mkdir(parents=True)
    (tmp_path / "iterations").mkdir()
    assert run.iterations() == [2, 10] and run.controls() == ["human"]
    found = [Path(path).relative_to(tmp_path).as_posix() for path in run.model_evals()]
    assert found == ["base/7_eval", "iter_002/7_eval", "iter_010/7_eval", "controls/human/7_eval"]


def test_paths_may_be_relative_to_a_run():
    assert RunDir("").stage(3, "verdicts") == "iter_003/4_verdicts" == f"iter_003/{stage_folder('verdicts')}"
    with pytest.raises(ValueError, match="no stage writes 'verdict'"):
        stage_folder("verdict")
