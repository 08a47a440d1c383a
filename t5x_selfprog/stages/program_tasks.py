"""Self-play's tasks about programs (puzzles/reasoning.py), made once a training and dealt out to its batches.

Programs are accepted solutions of the iteration and of train problems, the shortest of each puzzle.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

from t5x_selfprog import hosts
from t5x_selfprog.evaluation.rollout_accounts import TASKS
from t5x_selfprog.puzzles.reasoning import Reasoning, program, reasonings
from t5x_selfprog.puzzles.source import short_hash
from t5x_selfprog.stages.grpo import chosen_of
from t5x_selfprog.stages.policy_learning import Record, Session
from t5x_selfprog.stages.policy_settings import Mix
from verifier import Limits
from verifier.outcomes import ACCEPTED
from verifier.storage import files
from verifier.storage.records import Kind, Schema

PROGRAM: Schema = {"kind": Kind.TEXT, "text": Kind.TEXT, "puzzle": Kind.TEXT}


class ProgramTasks:
    """The tasks of one training, in OUTPUT/programs from the first batch that has any."""

    def __init__(self, session: Session, limits: Limits):
        self._session, self._limits = session, limits

    def asked_for(self, mix: Mix) -> list[Reasoning]:
        """All tasks of the kinds that batches have. Collective."""
        counts = {"deduction": mix.deductions, "abduction": mix.abductions}
        return [task for task in self._all if counts[task.kind]] if any(counts.values()) else []

    def of(self, number: int, mix: Mix) -> list[Reasoning]:
        """A batch's tasks: all in turn, each epoch in a new order. Collective."""
        found: list[Reasoning] = []
        for kind, count in (("deduction", mix.deductions), ("abduction", mix.abductions)):
            tasks = {task.task_id: task for task in self._all if task.kind == kind} if count else {}
            key = (self._session.seed, self._session.iteration, TASKS.index(kind))
            found += [
                tasks[name] for name, _ in chosen_of([(name, "") for name in tasks], count, number, key)
            ]
        return found

    @functools.cached_property
    def _all(self) -> list[Reasoning]:
        context = self._session.context
        ledger = context.ledger(files.join(self._session.output, "programs"), "programs", PROGRAM, shards=1)
        if context.pending(ledger) and hosts.is_first():
            ledger.commit(0, list(self._made()))
        context.finish(ledger)
        return [Reasoning(_task_id(row), row["kind"], row["text"], row["puzzle"]) for row in ledger]

    def _made(self) -> Iterator[Record]:
        """Runs every program once, for its output."""
        context = self._session.context
        shortest = {
            problem.puzzle_id: problem.solutions[0] for problem in context.train_problems if problem.solutions
        }
        for verdict in context.run.read(self._session.iteration, "verdicts"):
            if verdict["outcome"] == ACCEPTED:
                known = shortest.get(verdict["puzzle_id"])
                if known is None or (len(verdict["solution"]), verdict["solution"]) < (len(known), known):
                    shortest[verdict["puzzle_id"]] = verdict["solution"]
        solutions = sorted(set(shortest.values()))
        outputs = self._session.workers.pool(self._limits).answers(solutions)
        for solution, answer in zip(solutions, outputs, strict=True):
            given = None if answer is None else program(solution, answer[0])
            for task in reasonings(given) if given is not None else ():
                yield {"kind": task.kind, "text": task.text, "puzzle": task.puzzle}


def _task_id(row: Mapping[str, Any]) -> str:
    return f"{row['kind']}/{short_hash(row['text'])}"
