"""The host's bookkeeping against a simulated device that follows the same rules."""

import numpy as np

from t5x_selfprog.sampling.grid import IDLE
from t5x_selfprog.sampling.scheduler import Job, Scheduler


class Device:
    """Rows that end after a random number of steps; each token is its sample index."""

    def __init__(self, groups: int, rows: int, longest: int, seed: int):
        self.random, self.longest = np.random.default_rng(seed), longest
        self.next, self.end = np.zeros(groups, int), np.zeros(groups, int)
        self.sample = np.full((groups, rows), IDLE)
        self.age = np.zeros((groups, rows), int)

    def compact(self, moves) -> None:
        taken = set(zip(moves.row_group[moves.live], moves.row[moves.live], strict=True))
        assert taken == set(zip(*np.nonzero(self.sample != IDLE), strict=True))
        self.sample = np.where(moves.live, self.sample[moves.row_group, moves.row], IDLE)
        self.age = self.age[moves.row_group, moves.row]
        self.next = self.end = np.zeros(len(moves.group), int)

    def chunk(self, steps: int) -> list[np.ndarray]:
        events = []
        for _ in range(steps):
            for g, r in zip(*np.nonzero(self.sample == IDLE), strict=True):
                if self.next[g] < self.end[g]:
                    self.sample[g, r], self.age[g, r] = self.next[g], 0
                    self.next[g] += 1
            live = self.sample != IDLE
            self.age += live
            ends = live & ((self.random.random(live.shape) < 0.2) | (self.age == self.longest))
            events.append(
                (self.sample.copy(), self.sample.copy(), np.full(live.shape, -1.0), ends.astype(int))
            )
            self.sample[ends] = IDLE
        return [np.stack(field) for field in zip(*events, strict=True)]


def test_all_attempts_are_collected_once_however_rows_move():
    assert sum(simulate(seed) for seed in range(12)) > 3  # some runs end in a smaller grid


def test_where_the_grid_lies_in_parts_rows_stay_in_theirs():
    assert sum(simulate(seed, parts=3) for seed in range(12)) > 3


def simulate(seed: int, parts: int = 1) -> int:
    """Seven requests through a random grid; returns how often the grid was compacted."""
    random = np.random.default_rng(seed)
    groups, rows, longest = (int(random.integers(1, high)) for high in (6, 5, 12))
    groups *= parts
    sizes = random.integers(1, 40, 7)
    jobs = [
        Job(i, f"item {i}", [1], False, int(s), int(s + n), int(n))
        for i, (s, n) in enumerate(zip(random.integers(0, 9, 7), sizes, strict=True))
    ]
    scheduler, device, waiting, done = (
        Scheduler(groups, rows, longest),
        Device(groups, rows, longest, seed),
        jobs[:],
        [],
    )
    tail, compacted = groups // parts // 2 * parts, 0
    while True:
        for group in scheduler.idle_groups()[: len(waiting)]:
            assert (device.sample[group] == IDLE).all() and device.next[group] == device.end[group]
            job = waiting.pop(0)
            scheduler.place(job, group)
            device.next[group], device.end[group] = job.first_sample, job.end_sample
        for share in scheduler.shares():
            assert not waiting
            assert (device.sample[share.target] == IDLE).all()
            assert device.next[share.source] <= share.middle < device.end[share.source]
            device.next[share.target], device.end[share.target] = share.middle, device.end[share.source]
            device.end[share.source] = share.middle
        if not scheduler.busy():
            break
        compaction = None if waiting else scheduler.compacted((tail,), parts)
        if compaction is not None:
            part_there = np.arange(tail) * parts // tail
            assert (compaction.moves.row_group * parts // len(device.next) == part_there[:, None]).all()
            device.compact(compaction.moves)
            scheduler, compacted = compaction.scheduler, compacted + 1
        scheduler.record(device.chunk(3))
        done += scheduler.collect()
    assert sorted(job.number for job in done) == list(range(7))
    for job in done:
        assert sorted(a.sample for a in job.finished) == list(range(job.first_sample, job.end_sample))
        for attempt in job.finished:
            assert set(attempt.tokens) == {attempt.sample} and attempt.logprob == -len(attempt.tokens)
    return compacted


def test_one_request_spreads_over_the_whole_grid():
    scheduler = Scheduler(4, 8, 10)
    scheduler.place(Job(0, "only", [1], False, 0, 32, 32), 0)
    ends = {0: 32}
    for share in scheduler.shares():
        ends[share.target], ends[share.source] = ends[share.source] - share.middle, share.middle
    assert len(ends) == 4 and not scheduler.idle_groups()
