"""What a study says of itself before its first run."""

import json

import pytest

from t5x_selfprog.study.foresight import design_of, foreseen
from t5x_selfprog.study.grid import cells
from t5x_selfprog.study.launch import Configured


@pytest.fixture(scope="module")
def quick():
    axes = {"data": {"all": (), "40": ("Selection.max_pairs=40",)}}
    grid = cells(axes, (0, 1, 2), ("loop.run.iterations=1", "evaluate.run.attempts=25"))
    one = Configured("quickstart", grid[0].bindings)
    return grid, {cell.name: one for cell in grid}


def test_the_design_is_the_studys_own(quick):
    design = design_of(*quick, base=0.07)
    assert (design.seeds, design.problems, design.attempts, design.k) == (3, 60, 25, 10)
    assert design.arms == 2 * (1 + 3)  # both sizes of data: verified and its controls
    assert design.gain == design.base == 0.07


def test_a_study_that_can_not_see_a_doubling_says_so(quick, tmp_path):
    said = foreseen(str(tmp_path), *quick)
    assert said.startswith(
        "WARNING: 3 seeds, 60 problems, 25 attempts, 8 comparisons: a doubling of Pass@10 from 8.0%"
    )
    assert "(a guess)" in said and "selfprog power --find=problems" in said


def test_what_was_measured_replaces_the_guess(quick, tmp_path):
    folder = tmp_path / "runs" / "x" / "base" / "7_eval"
    folder.mkdir(parents=True)
    graded = [{"n": 100, "c": c} for c in (0, 1, 2, 4)] * 15
    (folder / "evaluation.json").write_text(
        json.dumps({"problems": graded, "pass_at_k": {"all": {"10": {"estimate": 0.2}}}})
    )
    said = foreseen(str(tmp_path), *quick)
    assert "a doubling of Pass@10 from 20.0% (as runs/x/base/7_eval/evaluation.json has it)" in said
