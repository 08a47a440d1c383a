"""A budget of wall time reserves time for the end of a run, and decisions made by the clock are kept."""

import json
import time

import pytest

from t5x_selfprog.budget import Budget, Spending
from t5x_selfprog.telemetry import recorder
from verifier.errors import UserError


class Clock:
    """Time that passes only when told to."""

    def __init__(self, monkeypatch):
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def spend(self, spending, part, seconds):
        with spending.on(part):
            self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def iterations_made(clock, spending, each=60.0, arms=3, most=50) -> int:
    """A loop like the run's: a base evaluation of 20 s, then iterations of `each` seconds, of which 5 are training."""
    clock.spend(spending, "evaluation", 20)
    made = 0
    while made < most and spending.may_begin(made, arms):
        with spending.on("iteration"):
            clock.now += each - 5
            clock.spend(spending, "training", 5)
        made += 1
    return made


@pytest.mark.parametrize("seconds", [400, 700, 1500])
def test_the_end_fits_in_the_budget_and_no_iteration_too_few_is_made(clock, tmp_path, seconds):
    started = clock.now
    made = iterations_made(clock, Spending(Budget(seconds), str(tmp_path)))
    end = 3 * (20 + 5)
    assert clock.now - started + end <= seconds
    assert clock.now - started + 1.3 * (60 + end) > seconds, "there was room for one more"
    assert json.loads((tmp_path / "ended.json").read_text())["iterations"] == made


def test_without_a_budget_nothing_ends_early_and_nothing_is_written(clock, tmp_path):
    assert iterations_made(clock, Spending(Budget(), str(tmp_path))) == 50
    assert [path.name for path in tmp_path.iterdir()] == ["took.json"]


def test_a_run_that_ended_is_not_gone_on_with_by_a_new_life(clock, tmp_path):
    made = iterations_made(clock, Spending(Budget(400), str(tmp_path)))
    again = Spending(Budget(10_000), str(tmp_path))
    assert [again.may_begin(i, 3) for i in range(made + 2)] == [True] * made + [False] * 2


def test_a_budget_too_small_for_one_iteration_says_what_it_takes_and_writes_nothing(clock, tmp_path):
    spending = Spending(Budget(60), str(tmp_path))
    clock.spend(spending, "evaluation", 20)
    with pytest.raises(UserError, match=r"Budget\.seconds=60 .*Give at least \d+ s"):
        spending.may_begin(0, 3)
    assert not (tmp_path / "ended.json").exists()


def test_compiling_is_done_once_and_expected_once(clock, tmp_path):
    spending = Spending(Budget(400), str(tmp_path))
    watch = recorder.current().clock
    with spending.on("evaluation"):
        clock.now += 20
        with watch.part("compile"):
            clock.now += 100
    assert spending.may_begin(0, 4)  # 120 + 1.3 x 4 x 20, where 1.3 x 4 x 120 would not fit


def test_a_life_that_finds_the_base_measured_still_keeps_time_for_the_end(clock, tmp_path):
    clock.spend(Spending(Budget(500), str(tmp_path)), "evaluation", 60)
    again = Spending(Budget(200), str(tmp_path))
    with pytest.raises(UserError, match="more at the end take about 312 s"):
        again.may_begin(0, 4)


def test_looking_at_a_finished_part_is_no_estimate(clock, tmp_path):
    spending = Spending(Budget(200), str(tmp_path))
    clock.spend(spending, "evaluation", 30)
    clock.spend(spending, "evaluation", 0.1)
    with pytest.raises(UserError):
        spending.may_begin(0, 5)  # 30 + 1.3 x 5 x 30 > 200


@pytest.mark.parametrize("settings", [{"seconds": -1.0}, {"seconds": 10.0, "margin": 0.5}])
def test_a_budget_that_means_nothing_is_refused(settings):
    with pytest.raises(UserError, match=r"Budget\.(seconds|margin)="):
        Budget(**settings)
