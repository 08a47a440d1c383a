"""How much a run has to do, from its configuration: attempts, tokens, steps, verdicts, bytes.

What a configuration cannot say (how many puzzles survive, how long programs are) is in `Yields`: assumptions, which the
plan names, or the yields of an earlier run.
"""

import dataclasses
from typing import Any

import gin
from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.shards import Ledger, is_finished

VERDICT_S = 600e-6  # CPU seconds of a verdict: results/verifier


@dataclasses.dataclass(frozen=True)
class Yields:
    """What generation yields.

    Attributes:
      puzzle_tokens, solution_tokens, pair_tokens: mean tokens of an attempt, and of a training pair.
      kept: share of the written puzzles that survive the filter.
      pairs_per_kept: training pairs for each kept puzzle.
      distinct: share of the attempts that repeat no other: only these are judged.
      endless: share of the judged attempts that run into the CPU limit.
      source: where the figures come from.
    """

    puzzle_tokens: float = 60.0
    solution_tokens: float = 40.0
    pair_tokens: float = 130.0
    kept: float = 0.10
    pairs_per_kept: float = 2.0
    distinct: float = 0.5
    endless: float = 0.02
    source: str = "assumed; give --pilot=RUN for those of a run"

    def verdict_s(self) -> float:
        """CPU seconds of judging an attempt, those that never end among them."""
        return VERDICT_S + self.endless * 1.0


@dataclasses.dataclass(frozen=True)
class Workload:
    """One iteration, and the evaluation of one model. Counts are for the whole slice."""

    puzzle_attempts: float
    puzzle_prompts: float
    puzzle_prompt_tokens: float
    puzzles_kept: float
    solution_attempts: float
    pairs: float
    epochs: float
    iterations: int
    eval_attempts: float
    evaluations: int

    @property
    def controls(self) -> int:
        """Arms that are trained beside the iterations."""
        return max(0, self.evaluations - 1 - self.iterations)

    def pairs_trained(self) -> float:
        """Pairs over all iterations: each trains on all pairs so far, and every control as long as the last."""
        rounds = sum(range(1, self.iterations + 1))
        return self.epochs * self.pairs * (rounds + self.controls * self.iterations)


def bound(name: str, default: Any) -> Any:
    """The value that gin binds to a parameter, or `default`."""
    try:
        return gin.query_parameter(name)
    except ValueError:
        return default


def read(yields: Yields, test_problems: int) -> Workload:
    """The workload as gin is configured now."""
    prompts, attempts = bound("sample_puzzles.run.prompts", 64), bound("sample_puzzles.run.attempts", 64)
    kept = yields.kept * prompts * attempts
    most = bound("Selection.max_pairs", 950_511)
    controls = bound("loop.run.controls", ("unverified", "human", "seeds_only"))
    iterations = bound("loop.run.iterations", 2)
    problems = bound("Experiment.max_eval_problems", None) or test_problems
    return Workload(
        puzzle_attempts=prompts * attempts,
        puzzle_prompts=prompts,
        puzzle_prompt_tokens=bound("sample_puzzles.run.prompt_tokens", 384),
        puzzles_kept=kept,
        solution_attempts=kept * bound("sample_solutions.run.attempts", 100),
        pairs=min(most, kept * yields.pairs_per_kept),
        epochs=bound("finetune.run.epochs", 4),
        iterations=iterations,
        eval_attempts=problems * bound("evaluate.run.attempts", 100),
        evaluations=1 + iterations + len(controls),
    )


def measured(run_dir: str) -> Yields:
    """The yields of a finished run's last iteration. Raises UserError where there is none."""
    run = RunDir(run_dir)
    complete = [number for number in run.iterations() if is_finished(run.stage(number, "dataset"))]
    if not complete:
        raise UserError(
            f"--pilot={run_dir}: no iteration there with a finished dataset; name the folder of a finished run."
        )
    last = complete[-1]
    funnel = files.read_json(run.funnel(last))
    stages = {stage["name"]: stage["count"] for stage in funnel["stages"]}
    puzzles, solutions = (Ledger.open(run.stage(last, name)) for name in ("puzzles", "solutions"))
    verdicts, dataset = (Ledger.open(run.stage(last, name)) for name in ("verdicts", "dataset"))
    rows = {ledger.path: ledger.manifest()["rows"] for ledger in (puzzles, solutions, verdicts, dataset)}
    kept = Ledger.open(run.stage(last, "kept")).manifest()["rows"]
    endless = sum(record["outcome"] == "cpu_limit" for record in verdicts)
    written, attempts = stages["sampled"], rows[solutions.path]
    pair_bytes = sum(len(pair["text"]) for pair in dataset) / max(1, rows[dataset.path])
    return Yields(
        puzzle_tokens=puzzles.counters()["tokens"] / max(1, written),
        solution_tokens=solutions.counters()["tokens"] / max(1, attempts),
        pair_tokens=pair_bytes / 3.0,  # bytes per token of Python
        kept=kept / max(1, written),
        pairs_per_kept=rows[dataset.path] / max(1, kept),
        distinct=verdicts.counters().get("distinct", attempts) / max(1, attempts),
        endless=endless / max(1, attempts),
        source=f"of {run_dir}, {complete[-1]}",
    )
