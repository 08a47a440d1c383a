"""The host's side of the grid: which request sits in which group, and what its rows have written so far.

Plain Python and NumPy. Decisions follow from the requests and from what the device reports, never from the
clock, so the same requests take the same path every time.
"""

import dataclasses

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
    """

    number: int
    item_id: str
    tokens: list[int]
    at_line_start: bool
    first_sample: int
    end_sample: int
    missing: int
    finished: list["Attempt"] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One finished completion. reason: index in stop.REASONS."""

    sample: int
    tokens: np.ndarray
    logprob: float
    reason: int


@dataclasses.dataclass(frozen=True)
class Share:
    """Attempts from `middle` on move from group `source` to the idle group `target`."""

    source: int
    target: int
    middle: int


@dataclasses.dataclass(frozen=True)
class Narrowing:
    """The rows at work gathered in fewer groups: how, and their scheduler."""

    moves: Moves
    scheduler: "Scheduler"


class Scheduler:
    def __init__(self, groups: int, rows: int, max_new_tokens: int):
        self.rows = rows
        self.jobs: list[Job | None] = [None] * groups
        self._open = np.zeros(groups, np.int64)  # attempts given to the group and not finished
        self._next = np.zeros(groups, np.int64)  # the group's next attempt to start, as on the device
        self._end = np.zeros(groups, np.int64)
        self._tokens = np.zeros((groups, rows, max_new_tokens), np.int32)
        self._ages = np.zeros((groups, rows), np.int64)
        self._logprobs = np.zeros((groups, rows), np.float64)

    def idle_groups(self) -> list[int]:
        return [g for g, job in enumerate(self.jobs) if job is None]

    def busy(self) -> bool:
        return any(job is not None for job in self.jobs)

    def places(self, waiting: int, parts: int, together: int) -> tuple[list[int], int]:
        """Idle groups for jobs, spread over the parts of the grid, and how many each part takes at most.

        That is `together` where as many wait for every part, else 1: a part without a job computes in vain.
        """
        size = len(self.jobs) // parts
        idle: list[list[int]] = [[] for _ in range(parts)]
        for group in self.idle_groups():
            idle[group // size].append(group)
        each = together if waiting >= parts * together and min(map(len, idle)) >= together else 1
        return [group for part in idle for group in part[:each]][:waiting], each

    def place(self, job: Job, group: int) -> None:
        """All of a new job's attempts go to an idle group."""
        self._assign(job, group, job.first_sample, job.end_sample)

    def shares(self) -> list[Share]:
        """Lets groups that would stay idle take over attempts that no row has started.

        Each takes half of what the busiest group could not start at once; prompts need not arrive in numbers
        that fill the grid, and the last ones end sooner.
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

    def record(self, events: Events) -> list[Job]:
        """Takes in a chunk's events, [steps, G, R] each; returns jobs whose attempts are all done."""
        sample, token, logprob, reason = map(np.asarray, events)
        done = []
        for step in range(sample.shape[0]):
            groups, rows = np.nonzero(sample[step] != IDLE)
            self._tokens[groups, rows, self._ages[groups, rows]] = token[step, groups, rows]
            self._ages[groups, rows] += 1
            self._logprobs[groups, rows] += logprob[step, groups, rows]
            for g, r in zip(*np.nonzero(reason[step]), strict=True):
                job = self._finish(int(g), int(r), int(sample[step, g, r]), int(reason[step, g, r]))
                if job.missing == 0:
                    done.append(job)
        self._next = np.maximum(self._next, sample.max(axis=(0, 2)) + 1)
        return done

    def narrowed(self, groups: int) -> Narrowing | None:
        """All rows at work in `groups` groups, prompts kept together; None while they do not fit.

        They do not either while an attempt has not started: its prompt would need a row to start in.
        """
        if (
            not 0 < groups < len(self.jobs)
            or (self._next < self._end)[[job is not None for job in self.jobs]].any()
        ):
            return None
        by_job: dict[int, list[tuple[int, int]]] = {}
        for g, r in zip(*np.nonzero(self._ages), strict=True):
            by_job.setdefault(self._job(g).number, []).append((int(g), int(r)))
        parts = [rows[i : i + self.rows] for rows in by_job.values() for i in range(0, len(rows), self.rows)]
        if len(parts) > groups:
            return None
        other = Scheduler(groups, self.rows, self._tokens.shape[2])
        row_group, row = (np.zeros((groups, self.rows), np.int32) for _ in range(2))
        live = np.zeros((groups, self.rows), bool)
        for g, part in enumerate(parts):
            other._assign(self._job(part[0][0]), g, 0, 0)
            other._open[g] = len(part)
            for r, source in enumerate(part):
                row_group[g, r], row[g, r] = source
                live[g, r] = True
                other._tokens[g, r] = self._tokens[source]
                other._ages[g, r] = self._ages[source]
                other._logprobs[g, r] = self._logprobs[source]
        moves = Moves(row_group[:, 0], row_group, row, live)
        return Narrowing(moves, other)

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

    def _finish(self, g: int, r: int, sample: int, reason: int) -> Job:
        job = self._job(g)
        tokens = self._tokens[g, r, : self._ages[g, r]].copy()
        job.finished.append(Attempt(sample, tokens, float(self._logprobs[g, r]), reason))
        job.missing -= 1
        self._ages[g, r], self._logprobs[g, r] = 0, 0.0
        self._open[g] -= 1
        if self._open[g] == 0:
            self.jobs[g] = None
        return job
