"""Judging a batch: which program runs in which child, and which reports are believed.

Solutions run first, until each has a literal answer or an outcome; then answers are checked against puzzles. Plain
programs share a child, where none can touch what another sees (screen.py). They still share the process: its memory,
its time and its life. So a shared child never decides about those: a program that takes an eighth of its CPU time
there, asks for much memory, writes much or dies runs again alone, in a fresh process, and only that counts. The same
pair thus gets the same verdict in any company, and alone.
"""

import re
from collections.abc import Callable, Sequence

from verifier.language import literal
from verifier.language.puzzle import HIDDEN
from verifier.language.screen import LOOKS_UP
from verifier.outcomes import CPU_LIMIT, INFRASTRUCTURE, OUTPUT_LIMIT, SYNTAX
from verifier.worker import child
from verifier.worker.area import Area
from verifier.worker.child import Attempt, Prepared, Twin
from verifier.worker.forker import Forker
from verifier.worker.puzzles import Puzzles
from verifier.worker.reports import (
    IN_PUZZLE,
    IN_SOLUTION,
    TOO_LARGE,
    Checked,
    Judged,
    Solved,
    death,
    is_transient,
    read_checks,
    read_solutions,
)
from verifier.worker.request import Pending, Request, checks_request, solutions_request
from verifier.worker.runtime import SHARED_MEMORY, Allowance, Runtime
from verifier.worker.watch import Ended, Nursery, Watched

LEAST_CHECK_S = 0.005  # CPU seconds a check gets, however much its solution used
SHARED_TIME = 0.125  # of the CPU limit, for each program in a shared child,
LEAST_SHARED_S = 0.02  # but no less than this
HELD_BYTES = 16 << 20  # of answers that wait for their check
SHARED_ANSWER_BYTES = 1 << 20  # a longer one is checked alone

# Outcomes that no shortage can cause: believed of a shared child.
_SURE = frozenset((child.ANSWER, SYNTAX, "bad_answer"))
_SURE_OF_CHECKS = frozenset(("accepted", "wrong", "wrong_type", "bad_answer"))

# `f` as a word, or between quotes; not the `f` of an f-string or of an attribute. The letter comes first, which lets
# the search skip to it: 5 us a solution, against 24 with the look-behind first.
_NAMES_F = re.compile(r"f\b(?<![\w.]f)(?!['\"])|f['\"](?<=['\"]f['\"])")
_LOOKS_UP = tuple(sorted(LOOKS_UP))


def _may_call_f(solution: str) -> bool:
    """Whether it might reach the puzzle by its name.

    False positives (a comment, say) only cost microseconds: child.solve looks at the code.
    """
    if not solution.isascii() or _NAMES_F.search(solution):  # letters beyond ASCII may spell `f` too
        return True
    return any(word in solution for word in _LOOKS_UP)


class _Batch:
    """A batch at work. Everything is keyed by item number; `which` gives the number of an item's puzzle.

    judged: finished items.
    solved: items whose answers, `held_bytes` in all, wait to be checked.
    ran: the puzzle of each item that runs, or will.
    same: for an item that need not run, the identical one that does.
    known: slow programs, so that identical ones need not run.
    alone: how many solutions ran in a process of their own.
    """

    def __init__(self, prepared: list[Prepared], which: Sequence[int], limits: Allowance):
        self.prepared, self.which, self.limits = prepared, which, limits
        self.judged: dict[int, Judged] = {}
        self.solved: dict[int, Solved] = {}
        self.ran: dict[int, int] = {}
        self.same: dict[int, int] = {}
        self.known: list[Twin] = []
        self.held_bytes = self.alone = 0

    def take(self, item: int, solved: Solved) -> None:
        if solved.outcome == child.ANSWER:
            self.solved[item] = solved
            self.held_bytes += len(solved.answer)
        else:
            self.judged[item] = Judged(solved.outcome, solved.detail, solved.cpu_s, solved.peak_kb)


class Judge:
    """Judges batches: solutions and checks in children of `forker`, all else in children of `nursery`."""

    def __init__(self, nursery: Nursery, forker: Forker, runtime: Runtime):
        self._nursery, self._forker, self.runtime = nursery, forker, runtime
        self.puzzles = Puzzles(nursery, runtime)

    def judge(
        self, puzzles: Sequence[str], solutions: Sequence[str], which: Sequence[int], limits: Allowance
    ) -> tuple[list[Judged], dict[str, int]]:
        """What became of each solution; `which[i]` is the number of solution i's puzzle.

        Also counts of solutions: `same_tree`, not run because another was the same, and `alone`, run in a process of
        their own.
        """
        batch = _Batch(self.puzzles.prepare(puzzles, limits), which, limits)
        attempts = []
        for item, (solution, number) in enumerate(zip(solutions, which, strict=True)):
            puzzle = batch.prepared[number]
            if puzzle.reason:
                outcome = INFRASTRUCTURE if puzzle.reason == INFRASTRUCTURE else "error:PuzzleError"
                batch.judged[item] = Judged(outcome, f"puzzle: {puzzle.reason}: {puzzle.detail}"[:200])
            else:
                shown = not puzzles[number].startswith(HIDDEN) and _may_call_f(solution)
                quoted = puzzle.code if shown else b""
                attempts.append(Attempt(item, number, solution, quoted, puzzle.plain))
        self._solve(batch, attempts)
        self._check(batch)
        for item, first in batch.same.items():
            batch.judged[item] = batch.judged[first]
        counted = {"same_tree": len(batch.same), "alone": batch.alone}
        return [batch.judged[item] for item in range(len(which))], counted

    # --- solutions

    def _solve(self, batch: _Batch, todo: list[Attempt]) -> None:
        alone: list[Attempt] = []
        while todo:
            ended, screened, reports = self._solve_together(batch, todo)
            seen = 0
            for item, report in reports:
                if seen == len(todo) or item != todo[seen].item or report.outcome == child.FULL:
                    break
                if report.outcome == child.SAME:
                    first = int(report.detail)
                    if batch.ran.get(first) != todo[seen].group:
                        break
                    batch.same[item] = first
                elif _is_sure(report) and report.cpu_s <= batch.limits.cpu_s:
                    batch.ran[item] = todo[seen].group
                    batch.take(item, report)
                else:
                    batch.ran[item] = todo[seen].group
                    alone.append(todo[seen])
                seen += 1
            todo = todo[seen:]
            if todo and (ended.how != "exit" or seen == 0):
                attempt = todo.pop(0)
                batch.ran[attempt.item] = attempt.group
                is_slow = ended.how == CPU_LIMIT and ended.item == attempt.item and screened
                self._solve_alone(batch, attempt, may_have_twins=is_slow)
            self._check_if_much(batch)
        for attempt in alone:
            self._solve_alone(batch, attempt, may_have_twins=False)
            self._check_if_much(batch)

    def _solve_together(
        self, batch: _Batch, attempts: list[Attempt]
    ) -> tuple[Ended, bool, list[tuple[int, Solved]]]:
        """How the child ended; whether at a program that was plain; and its reports."""
        limits = batch.limits
        with (
            solutions_request(attempts, batch.known) as request,
            Area(limits.output_bytes + 4 * child.REPORT_BYTES) as area,
        ):
            ended = self._run_together(request, area, len(batch.which), limits, checks=False)
            reports = [
                (item, report._replace(answer=bytes(report.answer)))
                for item, report in read_solutions(area, plain=True)
            ]
            return ended, area.is_screened, reports

    def _solve_alone(self, batch: _Batch, attempt: Attempt, *, may_have_twins: bool) -> None:
        """may_have_twins: the program is plain and slow, so identical ones should not run."""
        limits = batch.limits
        batch.alone += 1
        for _ in range(2):
            with (
                solutions_request([attempt], []) as request,
                Area(limits.output_bytes + 4 * child.REPORT_BYTES) as area,
            ):
                ended = self._run_alone(request, area, attempt.item, limits.cpu_s, limits, checks=False)
                reports = [
                    report._replace(answer=bytes(report.answer))
                    for item, report in read_solutions(area, plain=False)
                    if item == attempt.item
                ]
            if may_have_twins and reports and reports[0].outcome == child.TWIN:
                digest = bytes.fromhex(reports[0].detail)
                batch.known.append(Twin(attempt.item, attempt.group, bool(attempt.quoted), digest))
                may_have_twins = False
            reports = [report for report in reports if report.outcome != child.TWIN]
            if reports and ended.how == "exit":
                last = reports[-1]
                if last.outcome == child.FULL:
                    last = last._replace(outcome=OUTPUT_LIMIT, detail=TOO_LARGE)
                # the kernel's figures: the program may have written anything anywhere
                last = last._replace(cpu_s=ended.cpu_s, peak_kb=ended.peak_kb)
                batch.take(attempt.item, last.within(limits.cpu_s))
                return
            if not is_transient(ended):
                break
        batch.take(attempt.item, Solved(*death(ended, IN_SOLUTION), ended.cpu_s, ended.peak_kb))

    # --- checks

    def _check_if_much(self, batch: _Batch) -> None:
        if batch.held_bytes > HELD_BYTES:
            self._check(batch)

    def _check(self, batch: _Batch) -> None:
        """Checks all waiting answers."""
        todo: list[Pending] = []
        alone: list[Pending] = []
        for item in sorted(batch.solved, key=lambda item: (batch.which[item], item)):
            puzzle, answer = batch.prepared[batch.which[item]], batch.solved[item].answer
            check = Pending(item, puzzle.code, puzzle.answer_type, answer, puzzle.plain)
            (todo if puzzle.plain and len(answer) <= SHARED_ANSWER_BYTES else alone).append(check)
        while todo:
            ended, reports = self._check_together(todo, len(batch.which), batch.limits)
            seen = 0
            for item, report in reports:
                if seen == len(todo) or item != todo[seen].item:
                    break
                judged = _combine(batch.solved[item], report, batch.limits)
                if report.outcome in _SURE_OF_CHECKS and judged.outcome != CPU_LIMIT:
                    batch.judged[item] = judged
                else:
                    alone.append(todo[seen])
                seen += 1
            todo = todo[seen:]
            if todo and (ended.how != "exit" or seen == 0):
                alone.append(todo.pop(0))
        for check in alone:
            batch.judged[check.item] = self._check_alone(check, batch.solved[check.item], batch.limits)
        batch.solved.clear()
        batch.held_bytes = 0

    def _check_together(
        self, checks: list[Pending], items: int, limits: Allowance
    ) -> tuple[Ended, list[tuple[int, Checked]]]:
        with checks_request(checks) as request, Area(child.REPORT_BYTES * len(checks)) as area:
            ended = self._run_together(request, area, items, limits, checks=True)
            return ended, list(read_checks(area))

    def _check_alone(self, check: Pending, solved: Solved, limits: Allowance) -> Judged:
        cpu_s = max(limits.cpu_s - solved.cpu_s, LEAST_CHECK_S)
        for _ in range(2):
            with checks_request([check]) as request, Area(child.REPORT_BYTES) as area:
                ended = self._run_alone(request, area, check.item, cpu_s, limits, checks=True)
                mine = [report for item, report in read_checks(area) if item == check.item]
            if mine and ended.how == "exit":
                return _combine(solved, mine[-1], limits)
            if not is_transient(ended):
                break
        outcome, detail = death(ended, IN_PUZZLE)
        return Judged(outcome, detail, solved.cpu_s + ended.cpu_s, ended.peak_kb)

    # --- children

    def _run_together(
        self, request: Request, area: Area, items: int, limits: Allowance, *, checks: bool
    ) -> Ended:
        """Runs plain programs, whose numbers are below `items`, with less time for each, and room for all."""
        cpu_s = min(limits.cpu_s, max(SHARED_TIME * limits.cpu_s, LEAST_SHARED_S))
        memory_mb = int(SHARED_MEMORY * limits.memory_mb) + _mb(request)
        watched = Watched({0: cpu_s}, limits.wall_s, memory_mb)
        return self._forker.run(request, area, items, watched, limits, checks=checks, plain=True)

    def _run_alone(
        self, request: Request, area: Area, item: int, cpu_s: float, limits: Allowance, *, checks: bool
    ) -> Ended:
        watched = Watched({item: cpu_s}, limits.wall_s, limits.memory_mb + _mb(request), alone=item)
        return self._forker.run(request, area, 1, watched, limits, checks=checks, plain=False)

    # --- solutions without puzzles, puzzles without solutions

    def answers(self, solutions: Sequence[str], most_bytes: int, limits: Allowance) -> list[bytes]:
        """What each solution returns, encoded; b"" where that is nothing, or more than `most_bytes`."""
        batch = _Batch([], range(len(solutions)), limits)
        found = []
        for item, solution in enumerate(solutions):
            self._solve_alone(batch, Attempt(item, item, solution, b"", True), may_have_twins=False)
            solved = batch.solved.pop(item, None)
            found.append(solved.answer if solved is not None and len(solved.answer) <= most_bytes else b"")
        return [bytes(answer) for answer in found]

    def check(self, puzzle: Prepared, answer: literal.Buffer, limits: Allowance) -> Checked:
        """What a puzzle says to an encoded answer, in a child that holds nothing else."""
        check = Pending(0, puzzle.code, puzzle.answer_type, answer, puzzle.plain)
        judged = self._check_alone(check, Solved(child.ANSWER, "", 0.0, 0), limits)
        return Checked(judged.outcome, judged.detail, judged.cpu_s, int(judged.peak_kb), judged.answer or "")

    def run(self, body: Callable[[Area], None], area: Area, watched: Watched) -> Ended:
        """Runs `body` in a child that holds puzzles."""
        return self._nursery.run(body, area, watched)


def _is_sure(report: Solved) -> bool:
    return report.outcome in _SURE or report.outcome.startswith("error:")


def _mb(request: Request) -> int:
    """Its size in whole megabytes, which its child may use on top: it maps the request to read it."""
    return (request.size >> 20) + 1


def _combine(solved: Solved, checked: Checked, limits: Allowance) -> Judged:
    total_s, peak_kb = solved.cpu_s + checked.cpu_s, max(solved.peak_kb, checked.peak_kb)
    if total_s > limits.cpu_s:
        return Judged(CPU_LIMIT, IN_PUZZLE, total_s, peak_kb, checked.shown)
    return Judged(checked.outcome, checked.detail, total_s, peak_kb, checked.shown)
