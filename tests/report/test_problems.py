"""The held-out problems on the page: who solved which, with what; and how training went, and by what it was made."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from t5x_selfprog.report.build import build_report
from t5x_selfprog.report.collect import collect
from t5x_selfprog.report.lines import Line, line_panel
from tests.report.synthetic_run import PROBLEMS, TRIED, make_run


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "run", iterations=1, puzzles=12)


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return Path(build_report(str(root))).read_text()


def cards(page: str) -> dict[str, str]:
    found = re.findall(r'<details id="h-([^"]+)"(.*?)(?=<details id="h-|</section>)', page, re.DOTALL)
    return dict(found)


def test_every_problem_is_there_with_who_solved_it(root: Path, page: str) -> None:
    shown, run = cards(page), collect(str(root))
    assert len(shown) == PROBLEMS
    for arm, evaluation in enumerate(run.evaluations):
        solved = {problem["puzzle_id"] for problem in evaluation["problems"] if problem["c"]}
        told = {
            i for i, card in shown.items() if str(arm) in re.search(r'data-solved="([^"]*)"', card)[1].split()
        }
        assert told == solved


def test_problems_on_which_arms_differ_come_first(root: Path, page: str) -> None:
    rates = {}
    for evaluation in collect(str(root)).evaluations:
        if evaluation["arm"] != "enumerator":
            for problem in evaluation["problems"]:
                rates.setdefault(problem["puzzle_id"], []).append(problem["c"] / problem["n"])
    spreads = [max(rates[i]) - min(rates[i]) for i in cards(page)]
    assert spreads == sorted(spreads, reverse=True) and spreads[0] > spreads[-1]


def test_attempts_stand_with_their_outcome_where_they_were_kept(page: str) -> None:
    with_attempts = [card for card in cards(page).values() if "f returned False" in card]
    assert 0 < len(with_attempts) <= TRIED
    assert all('class="word' in card and "wrong" in card for card in with_attempts)
    assert any("answers " in card and "\N{HORIZONTAL ELLIPSIS}" in card for card in with_attempts)


def test_a_pack_without_attempts_still_says_who_solved_what(root: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(root, bare)
    for folder in bare.rglob("7_eval/verdicts"):
        shutil.rmtree(folder)
    shown = cards(Path(build_report(str(bare))).read_text())
    assert len(shown) == PROBLEMS and not any("f returned False" in card for card in shown.values())


def test_training_is_drawn_for_each_arm_and_a_line_cut_off_is_no_fault(page: str) -> None:
    for name in ("Iteration 0", "Iteration 1", "human"):
        assert f'aria-label="{name}: loss over steps"' in page
        assert f'aria-label="{name}: learning rate over steps"' in page


def test_what_made_the_run_is_said(page: str) -> None:
    for words in (
        "0123456789ab+",
        "jax 0.10.2",
        "2026-11-27",
        "2026-11-28",
        "selfprog run --gin_file=quickstart",
    ):
        assert words in page


def test_steps_logged_twice_count_once_and_the_later_wins(root: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(root, again)
    line = {
        "kind": "train",
        "stage": "6_checkpoints",
        "iteration": 0,
        "step": 5,
        "loss": 77.0,
        "learning_rate": 0.1,
    }
    with (again / "metrics.jsonl").open("a") as file:
        file.write("\n" + json.dumps(line) + "\n")
    steps = collect(str(again)).training["iter_000/6_checkpoints"]
    assert [s["step"] for s in steps] == list(range(0, 60, 5)) and steps[1]["loss"] == 77.0


@pytest.mark.parametrize(
    "values", [[0.0, 0.0], [float("nan"), 1.0], [5e-9, 2e-9], [-3.0, 4000.0], [float("inf")]]
)
def test_lines_of_any_values_are_drawn_inside(values: list[float]) -> None:
    drawn = line_panel("t", [Line("a", "verified", list(enumerate(values)))])
    numbers = [float(n) for n in re.findall(r'[xy]\d?="(-?[\d.]+)"', drawn)]
    assert numbers and all(-10 <= n <= 400 for n in numbers) and "nan" not in drawn
