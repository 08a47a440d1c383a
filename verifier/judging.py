"""Judging a batch: which program runs in which child.

Solutions first, until each has a literal answer or an outcome; then answers against puzzles. Plain
programs share a child. What dies or runs into a limit costs itself only: the rest goes on in another
child. An outcome that a batch might have caused (a crash, memory) is decided by running the program again,
alone.
"""

import contextlib
import re
from collections.abc import Callable, Sequence
from functools import partial

from verifier import child, literal
from verifier.area import Area
from verifier.child import Attempt, Check, Prepared
from verifier.outcomes import CPU_LIMIT, INFRASTRUCTURE, OUTPUT_LIMIT, WALL_LIMIT
from verifier.programs import Allowance, Runtime
from verifier.puzzles import Puzzles
from verifier.reports import (
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
from verifier.screen import LOOKS_UP
from verifier.solver import Solver
from verifier.watch import Ended, Nursery, Watched

LEAST_CHECK_S = 0.005  # CPU seconds a check gets, however much its solution used

# Solutions that may call the puzzle, by its name or by one in a text. Too many matches (a comment, say) only cost
# microseconds: child.solve looks at the code. (An identifier of other letters than ASCII's may be a spelling of `f`.)
_NAMES_F = re.compile(
    rf"(?<![\w.])f\b(?!['\"])|['\"]f['\"]|\b(?:{'|'.join(sorted(LOOKS_UP))})\b|[^\x00-\x7f]"
)
_KNOWN_CHARACTERS = 1 << 16


class Judge:
    """Judges batches: puzzles in children of `nursery`, solutions in those of `solver`."""

    def __init__(self, nursery: Nursery, solver: Solver, runtime: Runtime):
        self._nursery, self._solver, self.runtime = nursery, solver, runtime
        self.puzzles = Puzzles(nursery, runtime)

    def judge(
        self, puzzles: Sequence[str], solutions: Sequence[str], which: Sequence[int], limits: Allowance
    ) -> tuple[list[Judged], int]:
        """What became of each solution, and how many were the same as others; `which[i]` is the number of
        solution i's puzzle."""
        prepared = self.puzzles.prepare(puzzles, limits)
        judged: dict[int, Judged] = {}
        attempts: dict[int, Attempt] = {}
        for item, (solution, number) in enumerate(zip(solutions, which, strict=True)):
            puzzle = prepared[number]
            if puzzle.reason:
                outcome = INFRASTRUCTURE if puzzle.reason == INFRASTRUCTURE else "error:PuzzleError"
                judged[item] = Judged(outcome, f"puzzle: {puzzle.reason}: {puzzle.detail}"[:200])
            else:
                quoted = puzzle.code if _NAMES_F.search(solution) else b""
                attempts[item] = Attempt(item, number, solution, quoted, puzzle.plain)
        with contextlib.ExitStack() as areas:  # answers stay where they were written until they are checked
            solved, same = self._solve(attempts, limits, areas)
            checks = []
            for item in sorted(solved, key=lambda item: (which[item], item)):
                outcome, detail, cpu_s, peak_kb, answer, alone = solved[item]
                if outcome != child.ANSWER:
                    judged[item] = Judged(outcome, detail, cpu_s, peak_kb)
                    continue
                puzzle = prepared[which[item]]
                checker = self.puzzles.checker(puzzle.answer_type)
                checks.append(Check(item, puzzle.code, *checker, answer, puzzle.plain, alone))
            judged |= self._check(checks, solved, limits)
            solved.clear()
            checks.clear()
        for item, first in same.items():
            judged[item] = judged[first]
        return [judged[item] for item in range(len(which))], len(same)

    # --- solutions

    def _solve(
        self, attempts: dict[int, Attempt], limits: Allowance, areas: contextlib.ExitStack
    ) -> tuple[dict[int, Solved], dict[int, int]]:
        """What became of each attempt that ran, and of each that did not, the one that ran in its place."""
        solved: dict[int, Solved] = {}
        same: dict[int, int] = {}
        alone: list[int] = []
        endless: list[Attempt] = []
        todo = list(attempts)
        while todo:
            area = areas.enter_context(Area(limits.output_bytes + 4 * child.REPORT_BYTES))
            ended = self._run_solutions([attempts[item] for item in todo], area, limits, endless)
            seen = 0
            for item, report in read_solutions(area, plain=True):
                if seen == len(todo) or item != todo[seen] or (report.outcome == child.FULL and seen > 0):
                    break  # what is full begins the next child, with all the room there is
                if report.outcome == child.SAME:
                    first = int(report.detail)
                    ran = first in solved or first in alone
                    if not ran or attempts[first].group != attempts[item].group:
                        break
                    same[item] = first
                elif report.outcome in (child.NOT_PLAIN, child.NO_MEMORY):
                    alone.append(item)
                elif report.outcome == child.FULL:
                    solved[item] = report._replace(outcome=OUTPUT_LIMIT, detail=TOO_LARGE)
                else:
                    solved[item] = report.within(limits.cpu_s)
                seen += 1
            todo = todo[seen:]
            stuck = [attempt for attempt in endless if attempt.item == ended.item]
            if stuck and ended.how != "exit":  # to compile it takes for ever too: not again
                endless.remove(stuck[0])
            elif todo and ended.how in (CPU_LIMIT, WALL_LIMIT) and ended.item == todo[0]:
                spent_s = limits.cpu_s if ended.how == CPU_LIMIT else 0.0
                endless.append(attempts[todo[0]])
                solved[todo.pop(0)] = Solved(ended.how, IN_SOLUTION, spent_s, ended.peak_kb)
            elif todo and (ended.how != "exit" or seen == 0):
                alone.append(todo.pop(0))  # it killed the batch
        for item in alone:
            area = areas.enter_context(Area(limits.output_bytes + 4 * child.REPORT_BYTES))
            solved[item] = self._solve_alone(attempts[item], area, limits)
        return solved, same

    def _solve_alone(self, attempt: Attempt, area: Area, limits: Allowance) -> Solved:
        for _ in range(2):
            ended = self._run_solutions([attempt], area, limits)
            reports = [report for item, report in read_solutions(area, plain=False) if item == attempt.item]
            if reports and ended.how == "exit":
                last = reports[-1]
                if last.outcome == child.FULL:
                    last = last._replace(outcome=OUTPUT_LIMIT, detail=TOO_LARGE)
                # the kernel's figures, and a copy of the answer: the program may have written anything
                # anywhere
                answer = bytes(last.answer)
                last = last._replace(cpu_s=ended.cpu_s, peak_kb=ended.peak_kb, answer=answer, alone=True)
                return last.within(limits.cpu_s)
            if not is_transient(ended):
                break
        return Solved(*death(ended, IN_SOLUTION), ended.cpu_s, ended.peak_kb, alone=True)

    def _run_solutions(
        self, attempts: list[Attempt], area: Area, limits: Allowance, endless: list[Attempt] | None = None
    ) -> Ended:
        """Run plain solutions, where it is known which of this batch are `endless`; or any one, where it is None."""
        budget = {attempt.item: limits.cpu_s for attempt in [*attempts, *(endless or [])]}
        plain = endless is not None
        alone = None if plain else attempts[0].item
        watched = Watched(budget, limits.wall_s, limits.memory_mb, alone)
        known = _worth_knowing(endless or [], attempts)
        return self._solver.run(attempts, known, area, watched, limits, plain=plain)

    # --- checks

    def _check(self, checks: list[Check], solved: dict[int, Solved], limits: Allowance) -> dict[int, Judged]:
        judged: dict[int, Judged] = {}
        alone = [check for check in checks if check.alone or not check.plain]
        todo = [check for check in checks if not check.alone and check.plain]
        while todo:
            ended, reports = self._run_checks(todo, solved, limits)
            seen = 0
            for item, report in reports:
                if item != todo[seen].item:
                    break
                if report.outcome == child.NO_MEMORY:
                    alone.append(todo[seen])
                else:
                    judged[item] = _combine(solved[item], report, limits)
                seen += 1
            todo = todo[seen:]
            if todo and ended.how == CPU_LIMIT and ended.item == todo[0].item:
                judged[todo.pop(0).item] = Judged(CPU_LIMIT, IN_PUZZLE, limits.cpu_s, ended.peak_kb)
            elif todo and (ended.how != "exit" or seen == 0):
                alone.append(todo.pop(0))
        for check in alone:
            judged[check.item] = self._check_alone(check, solved, limits)
        return judged

    def _check_alone(self, check: Check, solved: dict[int, Solved], limits: Allowance) -> Judged:
        for _ in range(2):
            ended, reports = self._run_checks([check], solved, limits, alone=check.item)
            mine = [report for item, report in reports if item == check.item]
            if mine and ended.how == "exit":
                return _combine(solved[check.item], mine[-1], limits)
            if not is_transient(ended):
                break
        outcome, detail = death(ended, IN_PUZZLE)
        return Judged(outcome, detail, solved[check.item].cpu_s + ended.cpu_s, ended.peak_kb)

    def _run_checks(
        self, checks: list[Check], solved: dict[int, Solved], limits: Allowance, alone: int | None = None
    ) -> tuple[Ended, list[tuple[int, Checked]]]:
        body = partial(
            child.run_checks, checks=checks, runtime=self.runtime, limits=limits, alone=alone is not None
        )
        budget = {check.item: max(limits.cpu_s - solved[check.item].cpu_s, LEAST_CHECK_S) for check in checks}
        with Area(child.REPORT_BYTES * len(checks)) as area:
            ended = self._nursery.run(body, area, Watched(budget, limits.wall_s, limits.memory_mb, alone))
            return ended, list(read_checks(area))

    # --- without solutions

    def check(self, puzzle: Prepared, answer: literal.Buffer, limits: Allowance) -> Checked:
        """What a puzzle says to an encoded answer, in a child that holds nothing else."""
        check = Check(
            0, puzzle.code, *self.puzzles.checker(puzzle.answer_type), answer, puzzle.plain, alone=True
        )
        judged = self._check_alone(check, {0: Solved(child.ANSWER, "", 0.0, 0)}, limits)
        return Checked(judged.outcome, judged.detail, judged.cpu_s, int(judged.peak_kb), judged.answer or "")

    def run(self, body: Callable[[Area], None], area: Area, watched: Watched) -> Ended:
        """Run `body` in a child that holds puzzles."""
        return self._nursery.run(body, area, watched)


def _worth_knowing(endless: list[Attempt], todo: list[Attempt]) -> list[Attempt]:
    """Those that may have twins among what is to run, as far as compiling them again is nothing beside a limit."""
    groups, room, known = {attempt.group for attempt in todo}, _KNOWN_CHARACTERS, []
    for attempt in endless:
        if attempt.group in groups and len(attempt.source) <= room:
            room -= len(attempt.source)
            known.append(attempt)
    return known


def _combine(solved: Solved, checked: Checked, limits: Allowance) -> Judged:
    total_s, peak_kb = solved.cpu_s + checked.cpu_s, max(solved.peak_kb, checked.peak_kb)
    if total_s > limits.cpu_s:
        return Judged(CPU_LIMIT, IN_PUZZLE, total_s, peak_kb, checked.shown)
    return Judged(checked.outcome, checked.detail, total_s, peak_kb, checked.shown)
