"""What a run says before it begins and on its way: its coming stages, and an estimate that improves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import gin
import t5x_selfprog.loop  # noqa: F401 (declares what the gin files bind)
from scripts.make import pack_results
from t5x_selfprog import banner, gin_files, outlook
from t5x_selfprog.outlook import Outlook, Sizes, duration, stages
from t5x_selfprog.stages.context import Experiment

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


@pytest.mark.parametrize(
    ("gin_file", "attempts", "proposals"),
    [
        ("quickstart_grpo", 20 * 16 * 8, 0),
        # 4 puzzles, 4 deductions, 4 abductions, and a fifth of 32 proposals, a batch.
        ("quickstart_selfplay", 20 * 8 * (12 + 0.2 * 32), 20 * 32),
    ],
)
def test_what_a_policy_gradient_samples_counts(gin_file: str, attempts: float, proposals: int) -> None:
    def guess(*bindings: str) -> tuple[Sizes, float]:
        gin_files.load([gin_file], bindings)
        sizes = banner._sizes(Experiment(), 5_500_000, 100)
        return sizes, sizes.guess("iteration 0: training")

    try:
        sizes, usual = guess()
        assert sizes.rollouts is not None
        assert (sizes.rollouts.attempts, sizes.rollouts.proposals) == (pytest.approx(attempts), proposals)
        _, longer = guess("PolicyTraining.batches=200")
        _, without = guess("loop.learn.update=None")
        assert longer > 5 * usual > 5 * without
        assert sizes.disk_bytes(["iteration 0: puzzles"]) > (attempts + proposals) * 800
    finally:
        gin.clear_config()


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
