"""Ways to count what seeds add, compared before one was chosen; the t test in closed form in place of the bootstrap.

    python results/statistics/candidates.py > results/statistics/candidates.txt

Made-up experiments as in evaluation/power.py: 228 problems, 100 attempts. In units of MS_AB the variance of a mean is
b + f - 1, where b is MS_B and f is MS_A; F is MS_A as d = S - 1 degrees of freedom show it. A line is one setting, and
for each way the share of trials in which an arm of five (with a gain: the one arm) improves after Holm's first step,
and the share in which a single uncorrected interval lies above zero.

    ex       b + max(0, F - 1), with Satterthwaite's degrees of freedom, as all but the last
    1/d2     b + max(0, F - 1 - 1/d^2): an excess is believed beyond that
    2/d2     b + max(0, F - 1 - 2/d^2)
    , 2.5    the same, and at least 2.5
    , 3      the same, and at least 3
    F        b + F - 1 where an F test at 10% finds seeds, else b
    t        the interval of Student's t over the seeds alone
Chosen: 2/d2, 2.5.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from t5x_selfprog.evaluation.power import Design, Experiments

Array = NDArray[np.float64]  # [trials]
# b, F, d -> the variance, and the part of it that d degrees of freedom show
Way = Callable[[Array, Array, int], tuple[Array, Array]]
TRIALS, ARMS, PROBLEMS = 600, 5, 228


def beyond(doubt: float, least: float = 0.0) -> Way:
    """An excess over 1 + doubt / d^2; the whole is at least `least`."""

    def way(b: Array, f: Array, d: int) -> tuple[Array, Array]:
        excess = np.maximum(0, f - 1 - doubt / d**2)
        return np.maximum(b + excess, least), excess

    return way


def found_by_f(b: Array, f: Array, d: int) -> tuple[Array, Array]:
    excess = np.where(scipy.stats.f.sf(f, d, d * (PROBLEMS - 1)) < 0.1, np.maximum(0, f - 1), 0)
    return b + excess, excess


def students(b: Array, f: Array, d: int) -> tuple[Array, Array]:
    return f, f


WAYS: dict[str, Way] = {
    "ex": beyond(0),
    "1/d2": beyond(1),
    "2/d2": beyond(2),
    "2/d2, 2.5": beyond(2, 2.5),
    "2/d2, 3": beyond(2, 3.0),
    "F": found_by_f,
    "t": students,
}


def p_values(differences: NDArray[np.float64]) -> tuple[Array, dict[str, Array]]:
    """Means and two-sided p-values of [trials, seeds, problems]; one seed has but the problems."""
    _, seeds, problems = differences.shape
    means = differences.mean((1, 2))
    by_problem = differences.mean(1)
    # the two problems that the bootstrap imagines
    largest = np.abs(by_problem).max(1, keepdims=True)
    ms_b = seeds * np.concatenate([by_problem, largest, -largest], 1).var(1, ddof=1)
    if seeds == 1:
        return means, {
            "one": 2 * scipy.stats.norm.sf(np.abs(means) / np.sqrt(np.maximum(ms_b, 1e-30) / problems))
        }
    by_seed, d = differences.mean(2), seeds - 1
    rest = differences - by_seed[:, :, None] - by_problem[:, None] + means[:, None, None]
    ms_ab = np.maximum((rest**2).sum((1, 2)) / (d * (problems - 1)), 1e-30)
    f = problems * by_seed.var(1, ddof=1) / ms_ab
    found = {}
    for name, way in WAYS.items():
        variance, shown = way(ms_b / ms_ab, f, d)
        freedom = np.minimum(1e6, variance**2 / np.maximum(1e-30, shown**2 / d))
        error = np.sqrt(np.maximum(variance, 1e-30) * ms_ab / (seeds * problems))
        found[name] = 2 * scipy.stats.t.sf(np.abs(means) / error, freedom)
    return means, found


def shares(design: Design) -> dict[str, tuple[float, float]]:
    made_up, arms = Experiments.of(design), 1 if design.gain > 1e-6 else ARMS
    drawn = [made_up.draw(trial, arms) for trial in range(TRIALS)]
    bases = np.stack([base for base, _ in drawn])
    claimed: dict[str, list[Array]] = {}
    above: dict[str, list[Array]] = {}
    for arm in range(arms):
        means, found = p_values(np.stack([arms_[arm] for _, arms_ in drawn]) - bases)
        for name, p_value in found.items():
            claimed.setdefault(name, []).append((p_value * ARMS < 0.05) & (means > 0))
            above.setdefault(name, []).append((p_value < 0.05) & (means > 0))
    return {name: (float(np.any(claimed[name], 0).mean()), float(np.mean(above[name]))) for name in claimed}


def main() -> None:
    no_gain = [(k, 0.0, 0.6, seeds) for k in (100, 10, 1) for seeds in (2, 3, 5)]
    doubling = [(100, 0.08, per_seed, seeds) for per_seed in (0.1, 0.3) for seeds in (1, 2, 3, 5)]
    for (k, gain, per_seed, seeds), per_problem in itertools.product(no_gain + doubling, (0.5, 2.0)):
        base = {100: 0.08, 10: 0.05, 1: 0.02}[k]
        design = Design(
            gain or 1e-9, k, base=base, seeds=seeds, per_problem=per_problem, per_seed=per_seed, arms=ARMS
        )
        said = "  ".join(
            f"{name} {100 * arm:.1f} {100 * one:.1f}" for name, (arm, one) in shares(design).items()
        )
        print(
            f"k {k}, {100 * base:g}% to {100 * (base + gain):g}%, seeds {seeds}, "
            f"problems {per_problem:g}, seeds {per_seed:g}:  {said}",
            flush=True,
        )


if __name__ == "__main__":
    main()
