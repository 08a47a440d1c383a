"""The host's side of the grid: which request sits in which group, and what its rows have written so far.

Plain Python and NumPy. Decisions follow from the requests and from what the device reports, never from the
clock, so the same requests take the same path every time.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from t5x_selfprog.sampling.decode import Events
from t5x_selfprog.sampling.grid import IDLE
from t5x_selfprog.sampling.placing import Moves


@dataclasses.dataclass
class Job:
    """One request under way.

    Attributes:
      number: its place in the order of requests.
      missing: attempts not finished yet.
      lengths: tokens of each attempt, if the run sampled them before it was interrupted (`Request.lengths`).
      finished: the finished attempts, in the order in which they ended.
    """

    number: int
    item_id: str
    tokens: list[int]
    at_line_start: bool
    first_sample: int
    end_sample: int
    missing: int
    lengths: np.ndarray | None = None
    finished: list["Attempt"] = dataclasses.field(default_factory=list)


class Attempt(NamedTuple):
    """One finished completion. reason: an index into stop.REASONS; tokens, logprobs: [length] each.

    Arrays, because lists of Python's numbers would each be visited again and again by the collector of garbage.
    """

    sample: int
    tokens: np.ndarray
    logprob: float
    reason: int
    logprobs: np.ndarray


@dataclasses.dataclass(frozen=True)
class Share:
    """Attempts from `middle` on move from group `source` to the idle group `target`."""

    source: int
    target: int
    middle: int


@dataclasses.dataclass(frozen=True)
class Compaction:
    """How the busy rows are gathered in fewer groups, and their new scheduler."""

    moves: Moves
    scheduler: "Scheduler"


class Scheduler:
    def __init__(self, groups: int, rows: int, max_new_tokens: int):
        self.rows = rows
        self.jobs: list[Job | None] = [None] * groups
        self._open = np.zeros(groups, np.int64)  # attempts assigned to the group and not finished
        self._next = np.zeros(groups, np.int64)  # the group's next attempt to start, as on the device
        self._end = np.zeros(groups, np.int64)
        self._longest = max_new_tokens
        self._ages = np.zeros((groups, rows), np.int64)
        self._past: _Past | None = None
        self._ended: _Ended | None = None  # recorded, not collected

    def idle_groups(self) -> list[int]:
        return [g for g, job in enumerate(self.jobs) if job is None]

    def busy(self) -> bool:
        return any(job is not None for job in self.jobs)

    def places(self, waiting: int, parts: int, batches: Sequence[int]) -> tuple[list[int], int]:
        """Idle groups for jobs, spread over the parts of the grid, and how many each part takes at most.

        That is the largest of `batches` (in rising order) that waiting jobs fill in every part, or else the smallest:
        unfilled places of a batch are computed in vain.
        """
        size = len(self.jobs) // parts
        idle: list[list[int]] = [[] for _ in range(parts)]
        for group in self.idle_groups():
            idle[group // size].append(group)
        fewest = min(map(len, idle))
        full = [each for each in batches if waiting >= parts * each and fewest >= each]
        each = max(full, default=batches[0])
        return [group for part in idle for group in part[:each]][:waiting], each

    def place(self, job: Job, group: int) -> None:
        """Assigns all of a new job's attempts to an idle group."""
        self._assign(job, group, job.first_sample, job.end_sample)

    def shares(self) -> list[Share]:
        """Lets groups that would stay idle take over attempts that no row has started.

        Each takes half of what the busiest group could not start at once. So prompts need not fill the grid, and the
        last ones end sooner.
        """
        shares = []
        for target in self.idle_groups():
            waiting = self._end - self._next - self._idle_rows()
            waiting[[job is None for job in self.jobs]] = 0
            source = int(np.argmax(waiting))
            job = self.jobs[source]
            if job is None or waiting[source] < 1:
                break
            middle = int(self._end[source] - (waiting[source] + 1) // 2)
            self._assign(job, target, middle, int(self._end[source]))
            self._open[source] -= self._end[source] - middle
            self._end[source] = middle
            shares.append(Share(source, target, middle))
        return shares

    def record(self, events: Events) -> None:
        """Takes in a chunk's events, [steps, G, R] each, and frees the groups that are done."""
        assert self._ended is None, "what the chunk before ended was not collected"
        sample, token, logprob, reason = map(np.asarray, events)
        if self._past is None:
            self._past = _Past(self._longest, *sample.shape)
        began = self._past.add(token, logprob)
        live, ends = sample != IDLE, reason > 0
        ages = np.zeros(sample.shape, np.int64)  # after each step
        for step in range(len(sample)):
            self._ages += live[step]
            ages[step] = self._ages
            self._ages[ends[step]] = 0
        self._next = np.maximum(self._next, sample.max(axis=(0, 2)) + 1)
        where = np.nonzero(ends)
        steps, groups, rows = where
        if not len(steps):
            return
        jobs = [self._job(group) for group in groups.tolist()]
        self._ended = _Ended(jobs, began + steps, groups, rows, ages[where], sample[where], reason[where])
        self._open -= np.bincount(groups, minlength=len(self.jobs))
        for group in np.unique(groups[self._open[groups] == 0]).tolist():
            self.jobs[group] = None

    def collect(self) -> list[Job]:
        """Gives jobs the attempts that ended in the last chunk; returns the jobs whose attempts are all done.

        This is the longer part of taking in a chunk, and can be done while the device works on the next one.
        """
        ended, self._ended, done = self._ended, None, list[Job]()
        if ended is None or self._past is None:
            return done
        tokens, sums, logprobs = self._past.last(ended.steps, ended.groups, ended.rows, ended.lengths)
        samples, reasons = ended.samples.tolist(), ended.reasons.tolist()
        for job, sample, token, logprob, reason, each in zip(
            ended.jobs, samples, tokens, sums.tolist(), reasons, logprobs, strict=True
        ):
            job.finished.append(Attempt(sample, token, logprob, reason, each))
            job.missing -= 1
            if not job.missing:
                done.append(job)
        return done

    def compacted(self, sizes: Sequence[int], parts: int = 1) -> Compaction | None:
        """Gathers the busy rows in the smallest of `sizes` that fits, prompts kept together; None if none fits.

        None fits while any attempt has not started: its prompt would need a row to start in.

        Args:
          parts: how many parts the groups are split into, in both grids; rows stay in theirs, because another part is
            another device and caches are large.
        """
        assert self._ended is None, "what the last chunk ended was not collected"
        smaller = [groups for groups in sizes if 0 < groups < len(self.jobs) and groups % parts == 0]
        if not smaller or (self._next < self._end)[[job is not None for job in self.jobs]].any():
            return None
        by_job: list[dict[int, list[tuple[int, int]]]] = [{} for _ in range(parts)]
        for g, r in zip(*np.nonzero(self._ages), strict=True):
            of_part = by_job[int(g) * parts // len(self.jobs)]
            of_part.setdefault(self._job(g).number, []).append((int(g), int(r)))
        together = [
            [rows[i : i + self.rows] for rows in jobs.values() for i in range(0, len(rows), self.rows)]
            for jobs in by_job
        ]
        most = parts * max(map(len, together))
        groups = min((groups for groups in smaller if most <= groups), default=0)
        if not groups:
            return None
        other = Scheduler(groups, self.rows, self._longest)
        first = np.repeat(np.arange(parts) * (len(self.jobs) // parts), groups // parts)  # of a group's part
        row_group = np.repeat(first[:, None], self.rows, 1).astype(np.int32)
        row, live = np.zeros((groups, self.rows), np.int32), np.zeros((groups, self.rows), bool)
        for part, chunks in enumerate(together):
            for g, sources in enumerate(chunks, start=part * (groups // parts)):
                other._assign(self._job(sources[0][0]), g, 0, 0)
                other._open[g] = len(sources)
                for r, source in enumerate(sources):
                    row_group[g, r], row[g, r] = source
                    live[g, r] = True
                    other._ages[g, r] = self._ages[source]
        moves = Moves(row_group[:, 0], row_group, row, live)
        other._past = self._past and self._past.moved(row_group, row)
        return Compaction(moves, other)

    def _assign(self, job: Job, group: int, first: int, end: int) -> None:
        self.jobs[group] = job
        self._next[group], self._end[group], self._open[group] = first, end, end - first

    def _job(self, group: int) -> Job:
        job = self.jobs[group]
        assert job is not None, f"group {group} reports an attempt but holds no request"
        return job

    def _idle_rows(self) -> np.ndarray:
        """Rows that the next step will fill, [G]."""
        return self.rows - np.minimum(self.rows, self._open - (self._end - self._next))


class _Ended(NamedTuple):
    """Attempts that ended in a chunk, [F] each, and the jobs they belong to."""

    jobs: list[Job]
    steps: np.ndarray
    groups: np.ndarray
    rows: np.ndarray
    lengths: np.ndarray
    samples: np.ndarray
    reasons: np.ndarray


class _Past:
    """The tokens and log-probabilities of the last steps, from which finished attempts are cut."""

    def __init__(self, longest: int, steps: int, groups: int, rows: int):
        """longest: the most tokens of an attempt; steps: those of each chunk."""
        self._longest = longest
        kept = (-(-longest // steps) + 1) * steps
        self._tokens = np.zeros((kept, groups, rows), np.int32)
        self._logprobs = np.zeros((kept, groups, rows), np.float32)
        self._step = 0

    def add(self, tokens: np.ndarray, logprobs: np.ndarray) -> int:
        """Takes in a chunk, [steps, G, R] each; returns the number of its first step."""
        began = self._step
        where = (began + np.arange(len(tokens))) % len(self._tokens)
        self._tokens[where], self._logprobs[where] = tokens, logprobs
        self._step += len(tokens)
        return began

    def last(
        self, ends: np.ndarray, groups: np.ndarray, rows: np.ndarray, lengths: np.ndarray
    ) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
        """Tokens, summed and single log-probabilities of attempts of these lengths, steps and rows, [F] each."""
        kept, each, wide = self._tokens.shape
        steps = ((ends - lengths + 1)[:, None] + np.arange(lengths.max())) % kept
        where = steps * (each * wide) + (groups * wide + rows)[:, None]
        # Sequential sums in double precision do not depend on how the steps fell into chunks.
        sums = np.cumsum(self._logprobs.ravel()[where], axis=1, dtype=np.float64)
        real = np.arange(where.shape[1]) < lengths[:, None]
        own = where[real]
        tokens, logprobs = self._tokens.ravel()[own], self._logprobs.ravel()[own]
        parts = [slice(a, b) for a, b in itertools.pairwise([0, *np.cumsum(lengths).tolist()])]
        by_attempt = [tokens[part] for part in parts], [logprobs[part] for part in parts]
        return by_attempt[0], sums[np.arange(len(ends)), lengths - 1], by_attempt[1]

    def moved(self, row_group: np.ndarray, row: np.ndarray) -> "_Past":
        """The same steps for rows that moved; row_group, row: [G', R], where each row was."""
        other = _Past.__new__(_Past)
        other._longest, other._step = self._longest, self._step
        other._tokens, other._logprobs = self._tokens[:, row_group, row], self._logprobs[:, row_group, row]
        return other
