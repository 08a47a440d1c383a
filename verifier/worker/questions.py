"""What puzzles say to answers that no solution had to find: trivial guesses, and probes that tell puzzles apart.

An answer costs a call and little more. Plain puzzles share a child and go through their answers there, under limits
that an endless loop meets once. Any other puzzle has every answer checked in a child of its own, as the judge does it.
So has a plain one, from the answer on at which a shared child died or memory ran out, and for the acceptance that ends
the asking.
"""

import marshal
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from verifier.language.answer_types import Checker
from verifier.language.screen import may_cache
from verifier.outcomes import ACCEPTED, CPU_LIMIT, INFRASTRUCTURE, KILLED, WALL_LIMIT
from verifier.worker import child
from verifier.worker.area import Area, pack_report
from verifier.worker.child import Check, Prepared
from verifier.worker.reports import Checked, read_checks
from verifier.worker.runtime import (
    SHARED_MEMORY,
    Allowance,
    Demand,
    Runtime,
    begin_programs,
    forget_cached,
    peak_kb,
)
from verifier.worker.watch import Ended, Watched

if TYPE_CHECKING:
    from verifier.worker.judge import Judge

ENDS = (CPU_LIMIT, WALL_LIMIT, KILLED)
ROOM_BYTES = 4 << 20  # of reports, in one child


class Patience(NamedTuple):
    """When to stop asking a puzzle.

    accepted: after this many accepted answers.
    ends: after this many answers that took it to a time limit or killed it.
    total_s: after this many CPU seconds for all of its answers; each by itself has the allowance's.
    """

    accepted: int
    ends: int
    total_s: float


class Question(NamedTuple):
    """A puzzle that can be checked against, and what to ask it: encoded literals."""

    puzzle: Prepared
    answers: Sequence[bytes]


class Answered:
    """What a puzzle said so far: a report for each answer, in order."""

    def __init__(self, question: Question, limits: Allowance, patience: Patience) -> None:
        self.question, self._limits, self._patience = question, limits, patience
        self.reports: list[Checked] = []
        self.accepted, self.ends, self.cpu_s = 0, 0, 0.0

    def add(self, report: Checked) -> None:
        """The next answer's report."""
        if report.cpu_s > self._limits.cpu_s:
            report = report._replace(outcome=CPU_LIMIT, detail="")
        self.reports.append(report)
        self.accepted += report.outcome == ACCEPTED
        self.ends += report.outcome in ENDS
        self.cpu_s += report.cpu_s

    def replace(self, report: Checked) -> None:
        """Another report for the latest answer."""
        latest = self.reports.pop()
        self.accepted -= latest.outcome == ACCEPTED
        self.ends -= latest.outcome in ENDS
        self.cpu_s -= latest.cpu_s
        self.add(report)

    @property
    def rest(self) -> Sequence[bytes]:
        """The answers still to be asked."""
        over = (
            self.accepted >= self._patience.accepted
            or self.ends >= self._patience.ends
            or self.is_late
            or any(report.outcome == INFRASTRUCTURE for report in self.reports[-1:])
        )
        return () if over else self.question.answers[len(self.reports) :]

    @property
    def is_late(self) -> bool:
        return self.cpu_s >= self._patience.total_s

    @property
    def next_s(self) -> float:
        """CPU seconds that the next answer may take."""
        return min(self._limits.cpu_s, self._patience.total_s - self.cpu_s)


def ask(
    judge: "Judge", questions: Sequence[Question], limits: Allowance, patience: Patience
) -> list[Answered]:
    """What each puzzle said to its answers, as far as patience reached."""
    answered = [Answered(question, limits, patience) for question in questions]
    todo = {number: one for number, one in enumerate(answered) if one.question.puzzle.plain and one.rest}
    while todo:
        ended, unsure = _ask_together(judge, todo, limits)
        if ended.how in (CPU_LIMIT, WALL_LIMIT) and ended.item in todo:
            one = todo[ended.item]
            one.add(Checked(ended.how, "", one.next_s if ended.how == CPU_LIMIT else 0.0, ended.peak_kb, ""))
        elif ended.how != "exit":  # it died of this one, or never started
            unsure.add(ended.item if ended.item in todo else next(iter(todo)))
        todo = {number: one for number, one in todo.items() if number not in unsure and one.rest}
    for one in answered:
        if one.accepted == patience.accepted:  # much depends on this one, and it had company
            one.replace(judge.check(one.question.puzzle, one.question.answers[len(one.reports) - 1], limits))
        while one.rest:
            one.add(judge.check(one.question.puzzle, one.rest[0], limits))
    return answered


def letters(
    judge: "Judge",
    puzzles: Sequence[str],
    answers: Sequence[Sequence[bytes]],
    which: Sequence[int],
    limits: Allowance,
    total_s: float,
    ends: int,
) -> list[str]:
    """What each puzzle says to the `which`-th answers, in the letters of Pool.ask."""
    prepared = judge.puzzles.prepare(puzzles, limits)
    questions = [
        Question(puzzle, () if puzzle.reason else answers[number])
        for puzzle, number in zip(prepared, which, strict=True)
    ]
    answered = ask(judge, questions, limits, Patience(accepted=1 << 62, ends=ends, total_s=total_s))
    return [
        "?" if puzzle.reason == INFRASTRUCTURE else "".join(map(_letter, one.reports))
        for puzzle, one in zip(prepared, answered, strict=True)
    ]


def _letter(report: Checked) -> str:
    if report.outcome == INFRASTRUCTURE:
        return "?"
    if report.outcome in ENDS or report.outcome == child.NO_MEMORY:
        return "!"
    return "1" if report.outcome == ACCEPTED else "e" if report.detail.startswith(child.RAISED) else "0"


def _ask_together(
    judge: "Judge", todo: Mapping[int, Answered], limits: Allowance
) -> tuple[Ended, set[int | None]]:
    """Asks plain puzzles in one child. Also returns which of them to ask apart, for want of memory."""
    checkers = {
        number: judge.puzzles.checker(one.question.puzzle.answer_type) for number, one in todo.items()
    }
    body = partial(answer_together, todo=todo, checkers=checkers, runtime=judge.runtime, limits=limits)
    unsure: set[int | None] = set()
    with Area(ROOM_BYTES) as area:
        memory_mb = int(SHARED_MEMORY * limits.memory_mb)
        ended = judge.run(body, area, Watched(dict.fromkeys(todo, limits.cpu_s), limits.wall_s, memory_mb))
        for number, report in read_checks(area):
            if number not in todo or not todo[number].rest:
                break
            if report.outcome == child.NO_MEMORY:
                unsure.add(number)
            elif number not in unsure:
                todo[number].add(report)
    return ended, unsure


def answer_together(
    area: Area,
    todo: Mapping[int, Answered],
    checkers: Mapping[int, tuple[Checker, bytes]],
    runtime: Runtime,
    limits: Allowance,
) -> None:
    """The child: each puzzle is asked until its patience ends, or it lacks memory; then the next."""
    printed = begin_programs(limits.output_bytes)
    demand = Demand(limits.memory_mb, runtime.host_mb)
    for number, one in todo.items():
        puzzle = one.question.puzzle
        code = marshal.loads(puzzle.code)
        caches = may_cache(code)
        checker, proofs = checkers[number]
        while rest := one.rest:
            if not area.has_room(child.REPORT_BYTES):
                return
            printed.count = 0
            start = time.process_time()
            area.begin(number, start + one.next_s - limits.cpu_s)  # limits.cpu_s later it is killed
            check = Check(number, puzzle.code, checker, proofs, rest[0], plain=True)
            outcome, detail, _ = child.check_answer(check, code, runtime)
            if caches:
                forget_cached()
            if demand.is_large():
                outcome = child.NO_MEMORY
            peak = peak_kb()
            # after getrusage, which brings this clock up to date where a CPU limit is set
            now = time.process_time()
            area.append(number, pack_report(outcome, detail, now - start, peak))
            if outcome == child.NO_MEMORY:
                if demand.is_large():
                    return
                break
            one.add(Checked(outcome, detail, now - start, peak, ""))
            if now > len(todo) * limits.cpu_s:  # the kernel's limit is near
                return
