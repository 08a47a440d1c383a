"""What a run says before it begins and on its way: its coming stages, and an estimate that improves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.make import pack_results
from t5x_selfprog import outlook
from t5x_selfprog.outlook import Outlook, Sizes, duration, stages

REPOSITORY = Path(__file__).resolve().parent.parent


def times() -> list[dict[str, Any]]:
    """What each stage of the shipped quickstart took, in their order."""
    raw = pack_results.read(REPOSITORY / "results/quickstart" / pack_results.NAME)
    return [json.loads(raw[path]) for path in sorted(raw) if path.startswith("times/")]


def test_the_stages_foreseen_are_those_that_a_run_made() -> None:
    foreseen = stages(2, ("unverified", "human", "seeds_only"), "each")
    assert [name for name in foreseen if name != "table and report"] == [entry["stage"] for entry in times()]


def test_a_run_measured_at_its_end_is_evaluated_once() -> None:
    names = stages(3, ("human",), "last")
    assert [name for name in names if name.endswith(": evaluation")] == [
        "base: evaluation",
        "iteration 2: evaluation",
    ]
    assert stages(0, ("human",), "each") == ["base: evaluation", "table and report"]


def test_the_guess_is_of_the_order_of_what_the_quickstart_took() -> None:
    took = {entry["stage"]: entry["seconds"] for entry in times()}
    sizes = Sizes(5_500_000, 2, (4e10, 4e10), 28 * 64, 20, 60 * 100, 80, 40, 40, 1792 * 0.1 * 150 * 2)
    guessed = sum(sizes.guess(name) for name in took)
    assert sum(took.values()) / 2 < guessed < 2 * sum(took.values())


def test_a_stage_that_took_three_times_as_long_makes_the_rest_longer(monkeypatch, capsys) -> None:
    clock = [0.0]
    monkeypatch.setattr(outlook.time, "monotonic", lambda: clock[0])
    names = ["base: evaluation", "iteration 0: training", "iteration 0: evaluation"]
    ahead = Outlook(names, dict.fromkeys(names, 100.0))
    assert ahead.left_s() == 300.0
    with ahead.stage(names[0]):
        clock[0] += 300.0
    assert ahead.left_s() == 600.0
    with ahead.stage(names[1]):
        clock[0] += 50.0
    assert ahead.left_s() == 300.0  # by its own kind, not by training
    with ahead.stage(names[2]):
        pass
    assert ahead.left_s() == 0.0
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "stage 1 of 3, base: evaluation: about 5 minutes left"
    assert said[1] == "stage 2 of 3, iteration 0: training: about 10 minutes left"


def test_a_stage_that_was_finished_before_teaches_nothing(monkeypatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(outlook.time, "monotonic", lambda: clock[0])
    ahead = Outlook(
        ["a: evaluation", "b: evaluation"], {"a: evaluation": 90.0, "b: evaluation": 90.0}, quiet=True
    )
    with ahead.stage("a: evaluation"):
        clock[0] += 0.1
    assert ahead.left_s() == 90.0


def test_quiet_says_nothing(capsys) -> None:
    with Outlook(["a"], {}, quiet=True).stage("a"):
        pass
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "1 second"),
        (89, "89 seconds"),
        (100, "2 minutes"),
        (5000, "83 minutes"),
        (9000, "2 hours"),
        (2e5, "2 days"),
    ],
)
def test_durations_are_as_exact_as_a_guess(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_more_of_everything_takes_longer_and_more_disk() -> None:
    small = Sizes(1_000_000, 2, (1e10, 1e10), 100, 10, 1000, 80, 40, 40, 1e5)
    large = Sizes(10_000_000, 2, (1e10, 1e10), 1000, 10, 1000, 80, 40, 40, 1e6)
    names = stages(2, ("human",), "each")
    assert sum(map(small.guess, names)) < sum(map(large.guess, names))
    assert small.disk_bytes(names) < large.disk_bytes(names)
