"""Two runs side by side: the same arms, paired, worded by intervals; what differs in their settings."""

import re
from pathlib import Path

import pytest

from t5x_selfprog.main import main
from t5x_selfprog.report.versus import build_versus
from t5x_selfprog.run_layout import RunDir
from tests.report.synthetic_run import make_run
from tests.report.test_build import Outline
from verifier.storage.shards import atomic_write


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("runs")
    left = make_run(root / "left", iterations=1, puzzles=10, gain=40.0)
    right = make_run(root / "right", iterations=1, puzzles=10, gain=1.0)
    config = "Experiment.problems = 'seeds'\nSelection.max_pairs = 7 \n"
    atomic_write(RunDir(str(left)).config, config)
    return left, right


def test_side_by_side(both, capsys):
    left, right = both
    assert main(["report", f"--run_dir={left}", f"--against={right}"]) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    assert path == left / "report" / "versus-right.html"
    page = path.read_text()
    assert re.search(
        r"<h1>left is (higher than right|at more than twice right’s) (at )?Pass@100\.</h1>", page
    )
    assert "human 0, Pass@10" in page and "iteration 0: well formed" in page
    assert "Selection.max_pairs" in page and "evaluate.attempts" in page and "not set" in page
    assert Outline(page).unsafe == []


def test_runs_of_the_same_name_have_pages_of_their_own(both, tmp_path):
    left = make_run(tmp_path / "left", iterations=1, puzzles=4, gain=1.0)
    others = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    for other in others:
        other.mkdir(parents=True)
    pages = [Path(build_versus(str(left), str(other))) for other in [*others, *others]]
    assert [page.name for page in pages] == ["versus-run.html", "versus-b-run.html"] * 2
    assert all(str(other) in page.read_text() for other, page in zip(others, pages[:2], strict=True))
    assert str(others[1]) not in pages[0].read_text()


def test_a_run_beside_itself_differs_in_nothing(both):
    page = Path(build_versus(str(both[0]), str(both[0]))).read_text()
    assert "No difference shown" in page and "The configurations are alike." in page


def test_runs_that_share_nothing(both, tmp_path, capsys):
    page = Path(build_versus(str(both[0]), str(tmp_path))).read_text()
    assert "share no arm that was measured on the same problems" in page
    assert main(["report", f"--run_dir={both[0]}", f"--against={tmp_path}/no"]) == 2
    assert "no such run directory" in capsys.readouterr().err
