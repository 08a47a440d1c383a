"""What a mean, a difference or a ratio might have been: problems drawn again, seeds by their own variance.

Draws are [resamples] and depend on a seed alone, so that a table of many comparisons shares them (they are cached).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from t5x_selfprog.evaluation.crossed import SeedPart, Table, contrast_parts, freedom_of, seed_part

Draws = NDArray[np.float64]  # [resamples]
_RATIOS = 1e6  # ratios beyond it, and below one over it, are infinite and zero


@dataclass(frozen=True)
class Sampled:
    """Draws of one quantity around `centre`, and the degrees of freedom to which their spread is known."""

    centre: float
    draws: Draws
    freedom: float
    ordered: bool = False

    def end(self, tail: float) -> float:
        """The value with a share `tail` of the distribution below it.

        An order statistic without interpolation, its distance from the centre stretched as Student's t is wider
        than the normal distribution. Rounded, so that a sum that ought to be 0 claims nothing by its 17th digit.
        """
        place = min(len(self.draws), max(1, math.ceil(tail * len(self.draws)))) - 1
        drawn = float(self.draws[place] if self.ordered else np.partition(self.draws, place)[place])
        stretch = float(stdtrit(self.freedom, tail) / ndtri(tail)) if math.isfinite(self.freedom) else 1.0
        return round(self.centre + (drawn - self.centre) * stretch, 12)

    def p_value(self) -> float:
        """Twice the smallest tail whose end lies beyond zero: an interval that holds zero never goes with a small
        p-value. At least what so many draws can tell."""
        sorted_ = replace(self, draws=np.sort(self.draws), ordered=True)
        if self.centre < 0:
            beyond = lambda tail: sorted_.end(1 - tail) < 0  # noqa: E731
        else:
            beyond = lambda tail: sorted_.end(tail) > 0  # noqa: E731
        return min(1.0, 2 * _first(beyond, 1 / (len(self.draws) + 1), 0.499))


def sampled_mean(table: Table, imagined: Sequence[float], seed: int, resamples: int) -> Sampled:
    """Of the mean of a table [seeds, problems], with `imagined` problems on its right."""
    (draws,), (centre,) = _problem_draws([(table, imagined)], seed, resamples)
    return _with_seeds(draws, centre, [seed_part(table)], seed)


def sampled_difference(arm: Table, base: Table, largest: float, seed: int, resamples: int) -> Sampled:
    """Of mean(arm) - mean(base), paired by problem, with one imagined problem of `largest` difference either way."""
    return _contrast(arm, base, largest, seed, resamples)(1.0)


def ratio_ends(
    arm: Table, base: Table, largest: float, tail: float, seed: int, resamples: int
) -> tuple[float, float]:
    """The ratios r at which mean(arm) - r * mean(base) is told from zero, from below and from above (Fieller 1954,
    "Some problems in interval estimation", by these draws). Zero, or infinite, where no r up to a million is."""
    at = _contrast(arm, base, largest, seed, resamples)
    low = 1 / _first(lambda inverse: at(1 / inverse).end(tail) > 0, 1 / _RATIOS, _RATIOS)
    high = _first(lambda ratio: at(ratio).end(1 - tail) < 0, 1 / _RATIOS, _RATIOS)
    return (0.0 if low <= 1 / _RATIOS else low), (math.inf if high >= _RATIOS else high)


def resampled_means(tables: Sequence[Table], seed: int, resamples: int) -> list[Draws]:
    """The mean of each table in each resampling; with several seeds it may leave [0, 1].

    Tables share the drawn problems (they are paired), and those with equally many seeds share what is drawn for
    them: a Student variate of S - 1 degrees times the share of their spread that is the seeds' own.
    """
    weights = _weights(seed, tables[0].shape[1], resamples)
    counts = list(dict.fromkeys(len(table) for table in tables))
    variates = {seeds: _seed_variates(seed + place, seeds, resamples) for place, seeds in enumerate(counts)}
    means = []
    for table in tables:
        per_seed = weights @ table.T  # [resamples, seeds]
        mean = per_seed.mean(1)
        share = seed_part(table).share
        if share:
            mean = mean + math.sqrt(share) * ((per_seed - mean[:, None]) * variates[len(table)]).sum(1)
        means.append(mean)
    return means


def signs(seed: int, problems: int, flips: int) -> NDArray[np.float64]:
    """[flips, problems] of +1 and -1."""
    width = 1 << (problems - 1).bit_length()  # few widths, so that a table of many comparisons shares them
    return _signs(seed, width, flips)[:, :problems]


@functools.lru_cache(maxsize=4)
def _signs(seed: int, width: int, flips: int) -> NDArray[np.float64]:
    return 1.0 - 2.0 * np.random.default_rng([seed, 1]).integers(0, 2, (flips, width), np.int8)


def _contrast(
    arm: Table, base: Table, largest: float, seed: int, resamples: int
) -> Callable[[float], Sampled]:
    """arm - r * base as a function of r: problems are drawn once for all r."""
    (arm_draws, base_draws), (arm_mean, base_mean) = _problem_draws(
        [(arm, (largest, 0.0)), (base, (0.0, largest))], seed, resamples
    )

    def at(ratio: float) -> Sampled:
        draws = arm_draws - ratio * base_draws
        return _with_seeds(draws, arm_mean - ratio * base_mean, contrast_parts(arm, base, ratio), seed)

    return at


def _problem_draws(
    tables: Sequence[tuple[Table, Sequence[float]]], seed: int, resamples: int
) -> tuple[list[Draws], list[float]]:
    """Means over seeds and drawn problems of each table with its imagined problems, and those means' centres."""
    extended = [np.concatenate([table.mean(0), np.asarray(imagined)]) for table, imagined in tables]
    drawn = _weights(seed, len(extended[0]), resamples) @ np.stack(extended, axis=1)
    return list(drawn.T), [float(values.mean()) for values in extended]


def _with_seeds(draws: Draws, centre: float, parts: Sequence[SeedPart], seed: int) -> Sampled:
    freedom = freedom_of(float(draws.var()), parts)
    if added := sum(part.variance for part in parts):
        draws = draws + math.sqrt(added) * _normals(seed, len(draws))
    return Sampled(centre, draws, freedom)


def _first(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The smallest value found at which a condition holds that holds from somewhere in (low, high) on; else `high`."""
    if not holds(high):
        return high
    if holds(low):
        return low
    for _ in range(36):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


@functools.lru_cache(maxsize=4)
def _normals(seed: int, resamples: int) -> Draws:
    return np.random.default_rng([seed, 3]).standard_normal(resamples)


@functools.lru_cache(maxsize=4)
def _seed_variates(seed: int, seeds: int, resamples: int) -> NDArray[np.float64]:
    """[resamples, seeds]; times the seeds' deviations and summed: Student's t times the mean's standard error."""
    rng = np.random.default_rng([seed, 2])
    freedom = max(1, seeds - 1)
    stretch = np.sqrt(freedom / rng.chisquare(freedom, resamples) / (seeds * freedom))
    return rng.standard_normal((resamples, seeds)) * stretch[:, None]


@functools.lru_cache(maxsize=4)
def _weights(seed: int, problems: int, resamples: int) -> NDArray[np.float64]:
    """[resamples, problems], rows that sum to 1. Cached: a results table asks for them many times."""
    rng = np.random.default_rng([seed, 0])
    return rng.multinomial(problems, np.full(problems, 1 / problems), size=resamples) / problems
