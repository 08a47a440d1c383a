"""Intervals and tests for shares averaged over problems, and the only words a result may be given.

The unit is the problem: attempts at one problem resemble each other, so problems are what gets resampled. A table of
values is [problems], or [seeds, problems] for one recipe trained with several seeds on the same problems. Problems and
seeds are crossed random effects: `crossed` separates their variances, and `resampling` draws problems, adds the
variance of seeds to the draws, and widens them for how few seeds estimate it. `trained` says how many models stand
behind each side and how much training varies across all arms of the table; without it the values at hand are used, each
row a model of its own. Where no arm has several seeds, an interval says nothing about training again.

Which bootstrap? Percentile, over the problems and two imagined ones. Held-out scores of small models are mostly zeros,
and a bootstrap cannot draw what it has not seen: four problems won and none lost would "prove" a gain (the exact sign
test says p = 0.125). So each resample adds two problems of the most extreme kind seen: a zero and the largest value for
a mean; the largest difference, once in either direction, for a comparison. For plain yes and no this is the bootstrap's
form of adding pseudo-counts (Agresti and Coull 1998; Bonett and Price 2012, "Adjusted Wald confidence interval for a
difference of binomial proportions based on paired data"). In simulations of 40 to 228 problems at Pass@1 and Pass@100,
nominal 95% intervals of two arms without a difference contained zero in 96-100% of trials, against 90-99% for the plain
percentile and 74-96% for BCa, whose skewness correction misleads on a handful of non-zero differences; for single means
89-97%, against 82-96% and 88-96%. All fall short on 40 problems with a mean of 1% (75%, 67%, 74%): no interval there
knows about the problems it did not draw. tests/evaluation repeats part of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from t5x_selfprog.evaluation import resampling
from t5x_selfprog.evaluation.crossed import Table, Trained, spread_of
from t5x_selfprog.evaluation.resampling import (
    Sampled,
    flipped_sums,
    ratio_ends,
    sampled_difference,
    sampled_mean,
)
from t5x_selfprog.interval import Interval

NO_DIFFERENCE = "no difference shown"
NOT_AFTER_CORRECTION = "not shown after correction"  # the interval alone would have said more
NOTHING_SHOWN = (NO_DIFFERENCE, NOT_AFTER_CORRECTION)

_EXACT_FLIPS = 14  # differences up to which all 2^m sign patterns are enumerated


def mean_interval(
    values: ArrayLike,
    *,
    seed: int,
    level: float = 0.95,
    resamples: int = 10_000,
    trained: Trained | None = None,
) -> Interval:
    """The mean of values in [0, 1] over problems.

    Where every value is 0 (or 1) the bootstrap says nothing and the bound is exact: with a mean of m, all P problems
    are zero with probability at most (1 - m)^P.
    """
    table = _table("values", values)
    largest, smallest = table.max(), table.min()
    if smallest < 0 or largest > 1:
        raise ValueError(f"shares lie in [0, 1], got {smallest if smallest < 0 else largest}")
    estimate = float(table.mean())
    if largest == 0 or smallest == 1:
        bound = _all_zero_bound(table.shape[1], level)
        return Interval(0.0, 0.0, bound) if largest == 0 else Interval(1.0, 1.0 - bound, 1.0)
    trained = trained or Trained(spread_of([table]), len(table))
    ends = _ends(sampled_mean(table, trained, (0.0, largest), seed, resamples), level)
    return _around(estimate, *np.clip(ends, 0.0, 1.0))


def difference_interval(
    arm: ArrayLike, base: ArrayLike, *, seed: int, level: float = 0.95, resamples: int = 10_000,
    trained: Trained | None = None,
) -> Interval:  # fmt: skip
    """Mean of `arm` minus mean of `base`, paired by problem (the last axis)."""
    arm_table, base_table = _pair(arm, base)
    trained = trained or _by_themselves(arm_table, base_table)
    return _interval_of(arm_table, base_table, _drawn(arm_table, base_table, trained, seed, resamples), level)


def _by_themselves(arm: Table, base: Table) -> Trained:
    """One model per row; a side with one row is taken as it is."""
    models = [len(table) if len(table) > 1 else 0 for table in (arm, base)]
    return Trained(spread_of([arm, base]), *models)


def _drawn(arm: Table, base: Table, trained: Trained, seed: int, resamples: int) -> Sampled | None:
    """None where no problem differs."""
    largest = np.abs(arm.mean(0) - base.mean(0)).max()
    return sampled_difference(arm, base, trained, largest, seed, resamples) if largest > 0 else None


def _interval_of(arm: Table, base: Table, drawn: Sampled | None, level: float) -> Interval:
    if drawn is None:
        bound = _all_zero_bound(arm.shape[1], level)
        return Interval(0.0, -bound, bound)
    return _around(float(arm.mean() - base.mean()), *np.clip(_ends(drawn, level), -1.0, 1.0))


def ratio_interval(
    arm: ArrayLike, base: ArrayLike, *, seed: int, level: float = 0.95, resamples: int = 10_000,
    trained: Trained | None = None,
) -> Interval:  # fmt: skip
    """Mean of `arm` over mean of `base`, paired by problem; infinite over zero, NaN where both are zero.

    It holds the ratios r for which `arm` and r times `base` are not told apart, so that an interval above 1 and a
    difference above 0 agree except for the imagined problems.
    """
    arm_table, base_table = _pair(arm, base)
    largest = max(arm_table.max(), base_table.max())
    if largest == 0:
        return Interval(math.nan, 0.0, math.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = float(np.float64(arm_table.mean()) / base_table.mean())
    trained = trained or _by_themselves(arm_table, base_table)
    ends = ratio_ends(arm_table, base_table, trained, largest, (1 - level) / 2, seed, resamples)
    return _around(estimate, *ends)


def sign_flip_test(arm: ArrayLike, base: ArrayLike, *, seed: int, flips: int = 20_000) -> float:
    """Two-sided p-value for "arm and base could be exchanged within each problem" (seeds averaged).

    Exact by enumeration for up to 14 problems that differ, else from `flips` random sign patterns, the observed one
    among them (Phipson and Smyth 2010): never zero.
    """
    arm_table, base_table = _pair(arm, base)
    differences = arm_table.mean(0) - base_table.mean(0)
    differences = differences[differences != 0]
    if not len(differences):
        return 1.0
    # Patterns that tie with the observed one count as extreme.
    observed = abs(differences.sum()) * (1 - 1e-12)
    if len(differences) <= _EXACT_FLIPS:
        patterns = np.arange(2 ** len(differences))[:, None] >> np.arange(len(differences)) & 1
        return float(np.mean(np.abs((1 - 2 * patterns) @ differences) >= observed))
    extreme = np.count_nonzero(np.abs(flipped_sums(differences, seed, flips)) >= observed)
    return (extreme + 1) / (flips + 1)


def paired_test(arm: ArrayLike, base: ArrayLike, *, seed: int, resamples: int = 10_000) -> float:
    """Two-sided p-value for "no difference", over problems and, where there are several, over seeds.

    With one seed each it is `sign_flip_test`, which takes the trained models as given. With several seeds the draws of
    `difference_interval` account for training again, and the larger of the two p-values counts: an interval that
    includes zero never goes with a small p-value.
    """
    return difference_and_test(arm, base, seed=seed, resamples=resamples)[1]


def difference_and_test(
    arm: ArrayLike, base: ArrayLike, *, seed: int, level: float = 0.95, resamples: int = 10_000,
    trained: Trained | None = None,
) -> tuple[Interval, float]:  # fmt: skip
    """`difference_interval` and `paired_test`, from the same draws."""
    arm_table, base_table = _pair(arm, base)
    trained = trained or _by_themselves(arm_table, base_table)
    drawn = _drawn(arm_table, base_table, trained, seed, resamples)
    p_value = sign_flip_test(arm_table, base_table, seed=seed, flips=2 * resamples)
    if drawn is not None and (trained.spread.freedom or max(len(arm_table), len(base_table)) > 1):
        p_value = max(p_value, drawn.p_value())
    return _interval_of(arm_table, base_table, drawn, level), p_value


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values of several comparisons (Holm 1979): below 0.05 keeps any false claim under 5%."""
    adjusted: dict[str, float] = {}
    running = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        running = max(running, min(1.0, p_values[name] * (len(p_values) - rank)))
        adjusted[name] = running
    return {name: adjusted[name] for name in p_values}


def claim(difference: Interval, ratio: Interval) -> str:
    """What may be said: 'more than doubles', 'improves', 'worsens' or 'no difference shown'.

    Only the ends of the intervals decide, never the estimates; an end that is NaN supports nothing.
    """
    if difference.low > 0:
        return "more than doubles" if ratio.low > 2 else "improves"
    return "worsens" if difference.high < 0 else NO_DIFFERENCE


def corrected(word: str, adjusted: float) -> str:
    """What remains of a claim after its p-value was corrected for the other comparisons of its family.

    'More than doubles' needs two things: a corrected p-value of the difference below 0.05, and a plain 95% interval of
    the ratio above 2. The ratio itself is not corrected. A ratio above 2 implies a difference, so where no arm differs
    from the base the correction covers the claim too; among several arms that do improve, each has its own chance of at
    most 2.5% of being said to double when it does not.
    """
    if word == NO_DIFFERENCE or adjusted < 0.05:
        return word
    return NOT_AFTER_CORRECTION


def _table(name: str, values: ArrayLike) -> Table:
    table = np.atleast_2d(np.asarray(values, np.float64))
    if table.ndim != 2 or not table.size:
        raise ValueError(
            f"{name} must be [problems] or [seeds, problems] and not empty, got shape {table.shape}"
        )
    if not np.all(np.isfinite(table)):
        raise ValueError(f"{name} must be finite, got {table[~np.isfinite(table)][0]}")
    return table


def prepare(pairs: Sequence[tuple[Table, Table]], *, seed: int, resamples: int = 10_000) -> None:
    """Computes the draws of many comparisons at once, before `difference_and_test` and `ratio_interval` are called for
    each with the same seed: the same results, faster."""
    differences = [arm.mean(0) - base.mean(0) for arm, base in pairs]
    resampling.prepare(
        [
            (arm, base, size)
            for (arm, base), of_pair in zip(pairs, differences, strict=True)
            for size in (np.abs(of_pair).max(), max(arm.max(), base.max()))
        ],
        [found for of_pair in differences if len(found := of_pair[of_pair != 0]) > _EXACT_FLIPS],
        seed,
        resamples,
    )


def _pair(arm: ArrayLike, base: ArrayLike) -> tuple[Table, Table]:
    arm_table, base_table = _table("arm", arm), _table("base", base)
    if arm_table.shape[1] != base_table.shape[1]:
        raise ValueError(
            f"paired by problem: arm has {arm_table.shape[1]} problems, base {base_table.shape[1]}"
        )
    return arm_table, base_table


def _ends(sampled: Sampled, level: float) -> tuple[float, float]:
    return sampled.end((1 - level) / 2), sampled.end((1 + level) / 2)


def _around(estimate: float, low: float, high: float) -> Interval:
    """The interval, stretched to hold the estimate where the imagined problems shifted it away."""
    return Interval(estimate, float(min(low, estimate)), float(max(high, estimate)))


def _all_zero_bound(problems: int, level: float) -> float:
    return 1 - ((1 - level) / 2) ** (1 / problems)
