"""A budget of wall time reserves time for the end of a run, and decisions made by the clock are kept."""

import json
import os
import time

import pytest

from t5x_selfprog import amounts
from t5x_selfprog.budget import Budget, Spending
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.schedule import Schedule
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


PARTS = {"puzzles": 1.0, "training": 1.0}


def iterations_made(clock, spending, each=60.0, arms=3, most=50) -> int:
    """A loop like the run's: a base evaluation of 20 s, then iterations of `each` seconds, of which 5 are training."""
    clock.spend(spending, "evaluation", 20)
    made = 0
    while made < most and spending.may_begin(made, arms, PARTS):
        clock.spend(spending, "puzzles", each - 5)
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


class Growing:
    """A run whose iterations double; a puzzle sampled takes 1 s, one kept 1 s, a document 0.1 s.

    kept: the share of puzzles that is kept, by iteration. A kept puzzle brings a document.
    """

    def __init__(self, clock, root, seconds, kept, arms=3):
        self.clock, self.kept, self.arms, self.schedule = clock, kept, arms, Schedule(prompts=2.0)
        self.run, self.spending = RunDir(str(root)), Spending(Budget(seconds), str(root))

    def left(self, number, first="puzzles"):
        work = amounts.work(self.run, self.schedule, number)
        return {part: work[part] for part in amounts.PARTS[amounts.PARTS.index(first) :]}

    def write(self, number, stage, rows):
        folder = self.run.stage(number, stage)
        os.makedirs(folder)
        with open(f"{folder}/manifest.json", "w") as file:
            json.dump({"rows": rows}, file)

    def spend(self, number, part, seconds):
        with self.spending.on(part, self.left(number)[part]):
            self.clock.now += seconds

    def iterate(self, number) -> bool:
        written = 20 * 2**number
        kept = round(written * self.kept[number])
        with self.spending.on("puzzles", self.left(number)["puzzles"]):
            self.clock.now += written
            self.write(number, "kept", kept)
        if not self.spending.may_go_on(number, self.arms, self.left(number, "solutions")):
            return False
        self.spend(number, "solutions", kept)
        if not self.spending.may_go_on(number, self.arms, self.left(number, "pairs")):
            return False
        self.write(number, "dataset", kept)
        self.documents = self.left(number)["training"]
        self.spend(number, "training", 0.1 * self.documents)
        return True

    def made(self) -> int:
        """How many iterations were made; the end of the run is spent as well."""
        self.clock.spend(self.spending, "evaluation", 20)
        number = 0
        while self.spending.may_begin(number, self.arms, self.left(number)) and self.iterate(number):
            number += 1
        self.clock.now += self.arms * (20 + 0.1 * self.documents)
        return number


@pytest.mark.parametrize("seconds", [200, 300, 400, 600, 1000])
def test_iterations_that_double_are_expected_to_take_twice_as_long(clock, tmp_path, seconds):
    started = clock.now
    made = Growing(clock, tmp_path, seconds, kept=[0.5] * 9).made()
    assert clock.now - started <= seconds
    documents = [10 * (2**n - 1) for n in range(9)]
    took = [20 + sum(30 * 2**i + 0.1 * documents[i + 1] for i in range(n)) for n in range(8)]
    over = next(n for n in range(8) if took[n + 1] + 3 * (20 + 0.1 * documents[n + 1]) > seconds)
    assert over - 1 <= made <= over, "the margin costs one iteration at most"


def test_an_iteration_that_turns_out_too_large_is_given_up_while_the_end_still_fits(clock, tmp_path):
    """The model keeps twelve times as many puzzles once it has learnt what a puzzle is."""
    started = clock.now
    run = Growing(clock, tmp_path, 230, kept=[0.08, 1.0, 1.0], arms=4)
    assert run.made() == 1 and clock.now - started <= 230
    ended = json.loads((tmp_path / "ended.json").read_text())
    assert ended["iterations"] == 1 and "the iteration begun would have ended after" in ended["why"]
    assert (tmp_path / "iter_001" / "2_kept").exists(), "it had begun"


def test_the_first_iteration_is_completed_whatever_it_takes(clock, tmp_path):
    """Without it nothing is measured; what it needs is unknown until it has run."""
    run = Growing(clock, tmp_path, 130, kept=[1.0, 1.0], arms=4)
    clock.spend(run.spending, "evaluation", 20)
    clock.spend(run.spending, "solutions", 100)  # of a life that was killed
    assert run.iterate(0)


def test_without_a_budget_nothing_ends_early_and_nothing_is_written(clock, tmp_path):
    assert iterations_made(clock, Spending(Budget(), str(tmp_path))) == 50
    assert [path.name for path in tmp_path.iterdir()] == ["took.json"]


def test_a_run_that_ended_is_not_gone_on_with_by_a_new_life(clock, tmp_path):
    made = iterations_made(clock, Spending(Budget(400), str(tmp_path)))
    again = Spending(Budget(10_000), str(tmp_path))
    assert [again.may_begin(i, 3, PARTS) for i in range(made + 2)] == [True] * made + [False] * 2


def test_a_budget_too_small_for_one_iteration_says_what_it_takes_and_writes_nothing(clock, tmp_path):
    spending = Spending(Budget(60), str(tmp_path))
    clock.spend(spending, "evaluation", 20)
    with pytest.raises(UserError, match=r"Budget\.seconds=60 .*Give at least \d+ s"):
        spending.may_begin(0, 3, PARTS)
    assert not (tmp_path / "ended.json").exists()


def test_compiling_is_done_once_and_expected_once(clock, tmp_path):
    spending = Spending(Budget(400), str(tmp_path))
    watch = recorder.current().clock
    with spending.on("evaluation"):
        clock.now += 20
        with watch.part("compile"):
            clock.now += 100
    assert spending.may_begin(0, 4, PARTS)  # 120 + 1.3 x 4 x 20, where 1.3 x 4 x 120 would not fit


def test_a_life_that_finds_the_base_measured_still_keeps_time_for_the_end(clock, tmp_path):
    clock.spend(Spending(Budget(500), str(tmp_path)), "evaluation", 60)
    again = Spending(Budget(200), str(tmp_path))
    with pytest.raises(UserError, match="more at the end take about 312 s"):
        again.may_begin(0, 4, PARTS)


def test_looking_at_a_finished_part_is_no_estimate(clock, tmp_path):
    spending = Spending(Budget(200), str(tmp_path))
    clock.spend(spending, "evaluation", 30)
    clock.spend(spending, "evaluation", 0.1)
    with pytest.raises(UserError):
        spending.may_begin(0, 5, PARTS)  # 30 + 1.3 x 5 x 30 > 200


@pytest.mark.parametrize("settings", [{"seconds": -1.0}, {"seconds": 10.0, "margin": 0.5}])
def test_a_budget_that_means_nothing_is_refused(settings):
    with pytest.raises(UserError, match=r"Budget\.(seconds|margin)="):
        Budget(**settings)
