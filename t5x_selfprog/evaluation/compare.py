"""Reads evaluations back: the value of each problem, one arm against another, several seeds as one.

An evaluation is the dictionary in `evaluation.json`. Its problems carry counts, from which everything else follows. A
problem answered with an ordered list of guesses also carries "rank" (1 for the first guess, None for unsolved); its
Pass@k is 1 if a right guess is among the first k, else 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t5x_selfprog.evaluation import statistics
from t5x_selfprog.evaluation.crossed import Spread, Trained, spread_of
from t5x_selfprog.evaluation.pass_at_k import pass_at_k
from t5x_selfprog.interval import Interval

Evaluation = Mapping[str, Any]

ALL = "all"
BASE, ENUMERATOR = "base", "enumerator"


@dataclass(frozen=True)
class Comparison:
    """An arm against a base at one k. Differences are of Pass@k as a share: 0.01 is one percentage point."""

    difference: Interval
    ratio: Interval
    p_value: float
    claim: str
    problems: int

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.difference.as_dict("difference"),
            "ratio": self.ratio.as_dict(),
            "p_value": self.p_value,
            "claim": self.claim,
        }


def problem_values(problems: Sequence[Mapping[str, Any]], k: int, group: str = ALL) -> dict[str, float]:
    """Pass@k by puzzle id, of the problems with at least k attempts."""
    chosen = [problem for problem in problems if group in (ALL, problem["group"])]
    ordered = [problem for problem in chosen if "rank" in problem]
    sampled = [problem for problem in chosen if "rank" not in problem and problem["n"] >= k]
    values = {problem["puzzle_id"]: float(0 < (problem["rank"] or 0) <= k) for problem in ordered}
    estimates = pass_at_k([problem["n"] for problem in sampled], [problem["c"] for problem in sampled], k)
    return values | {
        problem["puzzle_id"]: float(value) for problem, value in zip(sampled, estimates, strict=True)
    }


def value_table(evaluations: Sequence[Evaluation], k: int, group: str = ALL) -> dict[str, list[float]]:
    """Pass@k of several seeds of one arm, [seeds] by puzzle id, on the problems that all of them have.

    Sorted by seed, whatever the order of the files, so that two arms of the same seeds are paired.
    """
    ordered = sorted(evaluations, key=lambda evaluation: evaluation.get("seed") or 0)
    per_seed = [problem_values(evaluation["problems"], k, group) for evaluation in ordered]
    return {
        puzzle_id: [values[puzzle_id] for values in per_seed]
        for puzzle_id in per_seed[0]
        if all(puzzle_id in values for values in per_seed)
    }


def estimate(
    evaluations: Sequence[Evaluation], k: int, group: str = ALL, seed: int = 0, spread: Spread | None = None
) -> Interval | None:
    """Pass@k of one arm with its interval; None where no problem has k attempts.

    `spread` is that of the arm's table; without it, the arm's own seeds estimate it.
    """
    values = value_table(evaluations, k, group)
    if not values:
        return None
    if spread is None:
        spread = seeds_spread([evaluations], k, group)
    trained = Trained(spread, models_of(evaluations))
    return statistics.mean_interval(_seeds_first(values, list(values)), seed=seed, trained=trained)


def compare(
    arm: Sequence[Evaluation], base: Sequence[Evaluation], k: int, group: str = ALL, seed: int = 0,
    spread: Spread | None = None,
) -> Comparison | None:  # fmt: skip
    """`arm` against `base`, each one evaluation or several seeds; None where no problem has k attempts.

    `spread` is that of the table of both; without it, the seeds of these two estimate it.

    Raises:
        ValueError: the two were evaluated on different problems.
    """
    require_same_problems(arm, base)
    arm_values, base_values = value_table(arm, k, group), value_table(base, k, group)
    shared = [puzzle_id for puzzle_id in arm_values if puzzle_id in base_values]
    if not shared:
        return None
    if spread is None:
        spread = seeds_spread([arm, base], k, group)
    trained = Trained(spread, models_of(arm), models_of(base))
    return compare_values(
        _seeds_first(arm_values, shared), _seeds_first(base_values, shared), seed, trained=trained
    )


def compare_values(
    arm: NDArray[np.float64], base: NDArray[np.float64], seed: int = 0, *, trained: Trained | None = None
) -> Comparison:
    """The same from values, each [problems] or [seeds, problems]."""
    difference, p_value = statistics.difference_and_test(arm, base, seed=seed, trained=trained)
    ratio = statistics.ratio_interval(arm, base, seed=seed, trained=trained)
    return Comparison(difference, ratio, p_value, statistics.claim(difference, ratio), arm.shape[-1])


def models_of(evaluations: Sequence[Evaluation]) -> int:
    """How many models were trained for an arm; 0 for one that was not trained: a base, however often measured."""
    checkpoints = {evaluation.get("checkpoint") or i for i, evaluation in enumerate(evaluations)}
    one = len(checkpoints) == 1 or evaluations[0].get("arm") == ENUMERATOR
    return 0 if one and evaluations[0].get("arm") in (BASE, ENUMERATOR) else len(checkpoints)


def seeds_spread(arms: Iterable[Sequence[Evaluation]], k: int, group: str = ALL) -> Spread:
    """How much training varies, from all arms of a table trained with several seeds (one iteration of each)."""
    values = [value_table(arm, k, group) for arm in arms if models_of(arm) == len(arm) > 1]
    return spread_of([_seeds_first(of_arm, list(of_arm)) for of_arm in values if of_arm])


def require_same_problems(arm: Sequence[Evaluation], base: Sequence[Evaluation]) -> None:
    """Raises ValueError naming a problem that only one side has."""
    names = [
        {problem["puzzle_id"]: problem["name"] for evaluation in side for problem in evaluation["problems"]}
        for side in (arm, base)
    ]
    for mine, theirs, label in ((names[0], names[1], "base"), (names[1], names[0], "arm")):
        if odd := sorted(mine[puzzle_id] for puzzle_id in mine.keys() - theirs.keys()):
            raise ValueError(
                f"not the same problems: {len(odd)} are missing from the {label}, such as {odd[0]!r}; "
                "evaluate both on one problem set and split"
            )


def _seeds_first(values: Mapping[str, Sequence[float]], puzzle_ids: Sequence[str]) -> NDArray[np.float64]:
    """[seeds, problems]"""
    return np.asarray([values[puzzle_id] for puzzle_id in puzzle_ids], np.float64).T
