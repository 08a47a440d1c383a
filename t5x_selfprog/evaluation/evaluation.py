"""From verdict counts to `evaluation.json`: Pass@k with intervals, by group, and against the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from t5x_selfprog.evaluation.compare import ALL, compare, problem_values
from t5x_selfprog.evaluation.statistics import mean_interval
from t5x_selfprog.evaluation.table import markdown_table, table

__all__ = ["GuessedProblem", "ProblemCount", "markdown_table", "summarise", "table"]


@dataclass(frozen=True)
class ProblemCount:
    """One held-out problem: `n` attempts judged, `c` of them accepted.

    Attempts that the infrastructure failed to judge count in neither: they are not wrong answers.
    """

    puzzle_id: str
    name: str
    group: str
    n: int
    c: int


@dataclass(frozen=True)
class GuessedProblem(ProblemCount):
    """A problem tried with an ordered list of `n` guesses; `rank` (from 1) is the first that solved it."""

    rank: int | None

    @classmethod
    def of(cls, puzzle_id: str, name: str, group: str, accepted: Sequence[bool]) -> GuessedProblem:
        """From the verdicts on the guesses, in the order of the list."""
        rank = next((i for i, right in enumerate(accepted, start=1) if right), None)
        return cls(puzzle_id, name, group, len(accepted), sum(accepted), rank)


def summarise(
    problems: Sequence[ProblemCount],
    outcomes: Mapping[str, int],
    base: Mapping[str, Any] | None = None,
    ks: Sequence[int] = (1, 10, 100),
    seed: int = 0,
) -> dict[str, Any]:
    """The computed part of `evaluation.json`; the caller adds arm, iteration, checkpoint, split and so on.

    A k is left out where fewer than half of the problems have that many attempts. Problems with fewer than k judged
    attempts are left out of that k alone, and the entry's "problems" says how many remain.

    Args:
        problems: one entry for each held-out problem.
        outcomes: number of attempts by outcome, over all problems.
        base: the evaluation of the base model on the same problems, for the paired difference.
        ks: attempt budgets.
        seed: of the bootstrap.

    Returns:
        "samples_per_problem", "problems", "pass_at_k" by group and k, "versus_base" by k (None without base)
        and "outcomes". Every share lies in [0, 1]; differences are of shares.

    Raises:
        ValueError: no problems, a puzzle id twice, impossible counts, or a base with other problems.
    """
    rows = [asdict(problem) for problem in problems]
    if not rows:
        raise ValueError("nothing to summarise: no problems")
    ids = [row["puzzle_id"] for row in rows]
    if len(set(ids)) < len(ids):
        twice = next(row["name"] for i, row in enumerate(rows) if row["puzzle_id"] in ids[:i])
        raise ValueError(f"problem {twice!r} appears twice (same puzzle id)")
    groups = [ALL, *dict.fromkeys(row["group"] for row in rows)]
    evaluation: dict[str, Any] = {
        "samples_per_problem": max(row["n"] for row in rows),
        "problems": rows,
        "pass_at_k": {group: _estimates(rows, group, ks, seed) for group in groups},
        "versus_base": None,
        "outcomes": dict(sorted(outcomes.items(), key=lambda item: (-item[1], item[0]))),
    }
    if base is not None:
        comparisons = {
            k: compare([evaluation], [base], int(k), seed=seed) for k in evaluation["pass_at_k"][ALL]
        }
        evaluation["versus_base"] = {
            k: found.as_dict() for k, found in comparisons.items() if found is not None
        }
    return evaluation


def _estimates(
    rows: Sequence[Mapping[str, Any]], group: str, ks: Sequence[int], seed: int
) -> dict[str, dict[str, Any]]:
    size = sum(group in (ALL, row["group"]) for row in rows)
    estimates = {}
    for k in ks:
        values = problem_values(rows, k, group)
        if 2 * len(values) >= size:
            interval = mean_interval(list(values.values()), seed=seed)
            estimates[str(k)] = {**interval.as_dict(), "problems": len(values)}
    return estimates
