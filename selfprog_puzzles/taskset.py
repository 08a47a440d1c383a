"""The tasks: a puzzle is asked in prose, and the answer is judged in the verifier's sandboxes, on this machine."""

from collections.abc import Iterator
from typing import Literal

import verifiers.v1 as vf

from selfprog_puzzles.judge import shared_judge
from selfprog_puzzles.rows import read_rows
from t5x_selfprog.puzzles.question import question, solution_of_answer
from verifier import Limits, PuzzleError, parse_puzzle
from verifier.language.puzzle import solution_header
from verifier.outcomes import ACCEPTED, ERROR, INFRASTRUCTURE, OUTCOMES
from verifier.verdict import Verdict


class PuzzleData(vf.TaskData):
    """puzzle: the source of `f`. solution: one known to be right, or ""; never shown to a model."""

    puzzle: str
    solution: str = ""


class PuzzleTaskConfig(vf.TaskConfig):
    """cpu_s: CPU seconds of an attempt. workers: processes that judge, None for one per core."""

    cpu_s: float = 1.0
    workers: int | None = None


class PuzzleTask(vf.Task[PuzzleData, vf.State, PuzzleTaskConfig]):
    """1 for an answer `g` with `f(g()) is True`, else 0."""

    @property
    def key(self) -> str:
        return self.data.id or self.hash

    async def _judged(self, solution: str) -> Verdict:
        judge = shared_judge(Limits(cpu_s=self.config.cpu_s), self.config.workers)
        verdict = await judge.verdict(self.data.puzzle, solution)
        if verdict.outcome == INFRASTRUCTURE:  # no reward would be right: the rollout fails and is repeated
            raise RuntimeError(
                f"the attempt could not be judged: {verdict.detail}; see `python -m verifier doctor`"
            )
        return verdict

    @vf.reward
    async def solved(self, trace: vf.Trace) -> float:
        verdict = await self._judged(solution_of_answer(trace.last_reply).rstrip() + "\n")
        kind = "error" if verdict.outcome.startswith(ERROR) else verdict.outcome
        trace.record_metrics({name: float(name == kind) for name in (*OUTCOMES, "error")})
        return float(verdict.outcome == ACCEPTED)

    async def validate(self, runtime: vf.Runtime) -> bool | None:
        """Whether the known solution is accepted; None where none is known."""
        if not self.data.solution:
            return None
        return (await self._judged(self.data.solution)).outcome == ACCEPTED


class PuzzleTasksetConfig(vf.TasksetConfig):
    puzzles: str = "seeds"
    """"seeds", a folder in P3's format, or a run's directory."""
    split: Literal["train", "dev", "test"] = "train"
    """Of a set."""
    solved: Literal["any", "some", "mixed"] = "any"
    """Of a run: any puzzle; those that some attempt solved; those that some solved and some did not."""
    task: PuzzleTaskConfig = PuzzleTaskConfig()


class PuzzleTaskset(vf.Taskset[PuzzleTask, PuzzleTasksetConfig]):
    """Puzzles that cannot be asked, having no header for their solution, are left out."""

    def load(self) -> Iterator[PuzzleTask]:
        for row in read_rows(self.config.puzzles, self.config.split, self.config.solved):
            try:
                asked = question(row.source, solution_header(parse_puzzle(row.source)))
            except PuzzleError:
                continue
            data = PuzzleData(
                id=row.puzzle_id, name=row.name, prompt=asked, puzzle=row.source, solution=row.solution
            )
            yield PuzzleTask(data, self.config.task)
