"""How busy rows are over a stage, with the sampler's own bookkeeping and attempts of random lengths."""

from importlib import import_module

import numpy as np
import pytest

import gin
from t5x_selfprog import gin_files
from t5x_selfprog.sampling.grid import IDLE
from t5x_selfprog.sampling.interface import SamplingConfig
from t5x_selfprog.sampling.replay import Remembered
from t5x_selfprog.sampling.scheduler import Job, Scheduler
from verifier.errors import UserError


class Device(Remembered):
    """A device that also shares and compacts."""

    def share(self, shares) -> None:
        for s in shares:
            self._lengths[s.target], self._first[s.target] = self._lengths[s.source], self._first[s.source]
            self._next[s.target], self._end[s.target] = s.middle, self._end[s.source]
            self._end[s.source] = s.middle

    def compact(self, moves) -> None:
        self._lengths, self._first = [self._lengths[group] for group in moves.group], self._first[moves.group]
        sample = self._sample[moves.row_group, moves.row]
        self._sample = np.where(moves.live, sample, IDLE).astype(np.int32)
        self._age = self._age[moves.row_group, moves.row]
        self._next, self._end = (np.zeros(len(moves.group), np.int32) for _ in range(2))


def occupancy(lists: list[int], attempts: int, groups: int, rows: int, tails: tuple[int, ...] = ()) -> float:
    """Occupancy over lists of these many prompts, in sequence; lengths are exponential with mean 28, at most 80."""
    random, busy, total, longest = np.random.default_rng(0), 0, 0, 80
    for prompts in lists:
        scheduler, device = Scheduler(groups, rows, longest), Device(groups, rows, 8)
        lengths = np.minimum(longest, 1 + random.exponential(28, (prompts, attempts))).astype(np.int32)
        jobs = [Job(i, "", [1], False, 0, attempts, attempts, row) for i, row in enumerate(lengths)]
        while True:
            for group in scheduler.idle_groups()[: len(jobs)]:
                scheduler.place(jobs[0], group)
                device.load([(jobs.pop(0), group)], 1)
            if not jobs:
                device.share(scheduler.shares())
                compaction = scheduler.compacted(tails)
                if compaction is not None:
                    device.compact(compaction.moves)
                    scheduler = compaction.scheduler
            if not scheduler.busy():
                break
            events = device.decode()
            busy, total = busy + int((events.sample != IDLE).sum()), total + events.sample.size
            scheduler.record(events)
            scheduler.collect()
    return busy / total


def test_a_stage_of_20_000_attempts_keeps_nine_tenths_of_its_rows_busy():
    assert occupancy([200], 100, 64, 4, (16,)) > 0.93
    assert occupancy([200], 100, 128, 4, (64, 16)) > 0.92
    assert occupancy([312], 64, 64, 4, (16,)) > 0.9
    assert occupancy([625], 32, 512, 2, (256, 64)) > 0.9


def test_lists_that_are_drained_one_by_one_do_not():
    assert occupancy([25] * 8, 100, 128, 4, (64, 16)) < 0.9 * occupancy([200], 100, 128, 4, (64, 16))


def test_many_rows_a_prompt_wait_for_its_last_attempts():
    """The formula in SamplingConfig: 1 / (1 + R (1/2 + ... + 1/R) / A) for exponential lengths."""
    for attempts, rows in ((32, 32), (32, 4), (64, 8)):
        waits = rows * sum(1 / i for i in range(2, rows + 1)) / attempts
        assert abs(occupancy([40 * 64 // rows], attempts, 64 // rows * 2, rows) - 1 / (1 + waits)) < 0.12


def test_a_grid_is_fitted_to_the_attempts_at_each_prompt():
    config = SamplingConfig(rows_in_flight=2048)
    assert [config.fitted(n).rows_per_prompt for n in (1, 8, 32, 64, 100, 200, 1000)] == [
        1,
        1,
        2,
        4,
        4,
        8,
        32,
    ]
    for attempts in (1, 32, 1000):
        fitted = config.fitted(attempts)
        assert fitted.prompts_in_flight * fitted.rows_per_prompt == 2048 and fitted.fitted(5) == fitted
    assert SamplingConfig(prompts_in_flight=7).fitted(32) == SamplingConfig(prompts_in_flight=7)
    assert SamplingConfig(rows_in_flight=64, tail_prompts=0).fitted(32).tails() == (0,)
    with pytest.raises(UserError, match="rows_in_flight=0"):
        SamplingConfig(rows_in_flight=0)


@pytest.mark.parametrize("name", ["p3_smollm2_135m", "claim", "p3_gpu"])
def test_what_people_launch_on_a_gpu_keeps_rows_busy(name):
    """With groups of 32 rows and no smaller grid for the end, half the rows of stage 3 were idle."""
    import_module("t5x_selfprog.loop")  # declares what the file binds
    try:
        gin_files.load([f"runs/{name}"], ["Experiment.base='base'"])
        bound = gin_files.bindings()
    finally:
        gin.clear_config()

    def of(what: str) -> int:
        return int(bound[f"solutions/SamplingConfig.{what}"])

    groups, rows = of("prompts_in_flight"), of("rows_per_prompt")
    attempts = int(bound["sample_solutions.run.attempts"])
    enough = 28 * groups * rows // attempts  # puzzles: some 28 attempts for each row
    assert occupancy([enough], attempts, groups, rows, (of("tail_prompts"),)) > 0.85
