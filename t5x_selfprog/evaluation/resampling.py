"""What a mean, a difference or a ratio might have been: problems resampled, seeds by their own variance.

Draws are [resamples], depend on a seed alone, and are cached, so that a table of many comparisons shares them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t5x_selfprog.evaluation.crossed import Table, Trained, share_of_seeds

Draws = NDArray[np.float64]  # [resamples]
_RATIOS = 1e6  # ratios above it count as infinite, below its inverse as zero


@dataclass(frozen=True)
class Sampled:
    """Draws of one quantity around `centre`, and the degrees of freedom of their spread."""

    centre: float
    draws: Draws
    freedom: float
    ordered: bool = False

    def end(self, tail: float) -> float:
        """The value with a share `tail` of the distribution below it.

        An order statistic without interpolation, its distance from the centre stretched by the ratio of Student's t to
        the normal distribution. Rounded, so that a sum that should be 0 claims nothing by its 17th digit.
        """
        place = min(len(self.draws), max(1, math.ceil(tail * len(self.draws)))) - 1
        drawn = float(self.draws[place] if self.ordered else np.partition(self.draws, place)[place])
        stretch = 1.0
        if math.isfinite(self.freedom):
            # Here, because it takes a third of a second, which most commands need not spend.
            from scipy.special import ndtri, stdtrit

            stretch = float(stdtrit(self.freedom, tail) / ndtri(tail))
        return round(self.centre + (drawn - self.centre) * stretch, 12)

    def p_value(self) -> float:
        """Twice the smallest tail whose end lies beyond zero, and at least what so many draws can resolve.

        So an interval that holds zero never goes with a small p-value.
        """
        sorted_ = replace(self, draws=np.sort(self.draws), ordered=True)
        if self.centre < 0:
            beyond = lambda tail: sorted_.end(1 - tail) < 0  # noqa: E731
        else:
            beyond = lambda tail: sorted_.end(tail) > 0  # noqa: E731
        return min(1.0, 2 * _first(beyond, 1 / (len(self.draws) + 1), 0.499))


def sampled_mean(
    table: Table, trained: Trained, imagined: Sequence[float], seed: int, resamples: int
) -> Sampled:
    """Draws of the mean of a table [seeds, problems], with `imagined` problems appended."""
    (draws,), (centre,) = _problem_draws([(table, imagined)], seed, resamples)
    return _with_seeds(draws, float(draws.var()), centre, trained.part(0.0), seed)


def sampled_difference(
    arm: Table, base: Table, trained: Trained, largest: float, seed: int, resamples: int
) -> Sampled:
    """Draws of mean(arm) - mean(base), paired by problem, with one imagined `largest` difference either way."""
    return _contrast(arm, base, trained, largest, seed, resamples)(1.0)


def ratio_ends(
    arm: Table, base: Table, trained: Trained, largest: float, tail: float, seed: int, resamples: int
) -> tuple[float, float]:
    """The ends of the ratios r for which mean(arm) - r * mean(base) is not told from zero; zero or infinite beyond 1e6.

    By these draws, after Fieller 1954, "Some problems in interval estimation".
    """
    at = _contrast(arm, base, trained, largest, seed, resamples)
    low = 1 / _first(lambda inverse: at(1 / inverse).end(tail) > 0, 1 / _RATIOS, _RATIOS)
    high = _first(lambda ratio: at(ratio).end(1 - tail) < 0, 1 / _RATIOS, _RATIOS)
    return (0.0 if low <= 1 / _RATIOS else low), (math.inf if high >= _RATIOS else high)


def resampled_means(tables: Sequence[Table], seed: int, resamples: int) -> list[Draws]:
    """The mean of each table in each resample; with several seeds it may leave [0, 1].

    Tables share the drawn problems (they are paired), and those with equally many seeds share the seeds' variates:
    Student's t with S - 1 degrees of freedom, scaled by the share of their spread that is due to seeds.
    """
    weights = _weights(seed, tables[0].shape[1], resamples)
    counts = list(dict.fromkeys(len(table) for table in tables))
    variates = {seeds: _seed_variates(seed + place, seeds, resamples) for place, seeds in enumerate(counts)}
    means = []
    for table in tables:
        per_seed = weights @ table.T  # [resamples, seeds]
        mean = per_seed.mean(1)
        if share := share_of_seeds(table):
            mean = mean + math.sqrt(share) * ((per_seed - mean[:, None]) * variates[len(table)]).sum(1)
        means.append(mean)
    return means


def flipped_sums(differences: NDArray[np.float64], seed: int, flips: int) -> Draws:
    """[flips]: sums of the [problems] differences under random signs."""
    return _products(_signs, seed, flips, [_to_a_power_of_two(differences)])[0]


def prepare(
    pairs: Sequence[tuple[Table, Table, float]],
    differences: Sequence[NDArray[np.float64]],
    seed: int,
    resamples: int,
) -> None:
    """Computes the draws of many comparisons in one product, several times as fast as one by one: for simulations.

    Args:
      pairs: arm, base and the largest imagined value, of the comparisons that will be asked for.
      differences: what `flipped_sums` will be asked for, with twice `resamples` flips.
    """
    _PREPARED.clear()
    columns = [column for arm, base, largest in pairs for column in _extended(_imagined(arm, base, largest))]
    padded = [_to_a_power_of_two(column) for column in differences]
    for matrix, rows, of in ((_weights, resamples, columns), (_signs, 2 * resamples, padded)):
        for width in {len(column) for column in of}:
            alike = [column for column in of if len(column) == width]
            drawn = np.ascontiguousarray((matrix(seed, width, rows) @ np.stack(alike, axis=1)).T)
            for column, one in zip(alike, drawn, strict=True):
                _PREPARED[matrix, seed, rows, column.tobytes()] = one


_PREPARED: dict[tuple[Any, int, int, bytes], Draws] = {}


def _products(
    matrix: Callable[..., NDArray[np.float64]], seed: int, rows: int, columns: Sequence[NDArray[np.float64]]
) -> list[Draws]:
    """`matrix`(seed, width, rows) times each column: [rows], prepared or computed now."""
    found = [_PREPARED.get((matrix, seed, rows, column.tobytes())) for column in columns]
    if any(one is None for one in found):
        drawn = matrix(seed, len(columns[0]), rows) @ np.stack(columns, axis=1)
        return list(np.ascontiguousarray(drawn.T))
    return [one for one in found if one is not None]


def _to_a_power_of_two(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pads with zeros to one of few widths, so that a table of many comparisons shares its signs."""
    return np.pad(differences, (0, (1 << (len(differences) - 1).bit_length()) - len(differences)))


@functools.lru_cache(maxsize=4)
def _signs(seed: int, width: int, flips: int) -> NDArray[np.float64]:
    return 1.0 - 2.0 * np.random.default_rng([seed, 1]).integers(0, 2, (flips, width), np.int8)


def _contrast(
    arm: Table, base: Table, trained: Trained, largest: float, seed: int, resamples: int
) -> Callable[[float], Sampled]:
    """arm - r * base as a function of r: problems are drawn once for all r."""
    (arm_draws, base_draws), (arm_mean, base_mean) = _problem_draws(
        _imagined(arm, base, largest), seed, resamples
    )
    (of_arm, of_both), (_, of_base) = np.cov(arm_draws, base_draws, ddof=0)

    def at(ratio: float) -> Sampled:
        draws = arm_draws - ratio * base_draws
        variance = max(0.0, of_arm - 2 * ratio * of_both + ratio**2 * of_base)
        return _with_seeds(draws, variance, arm_mean - ratio * base_mean, trained.part(ratio), seed)

    return at


def _imagined(arm: Table, base: Table, largest: float) -> list[tuple[Table, Sequence[float]]]:
    return [(arm, (largest, 0.0)), (base, (0.0, largest))]


def _extended(tables: Sequence[tuple[Table, Sequence[float]]]) -> list[NDArray[np.float64]]:
    """Means over seeds, with the imagined problems appended."""
    return [np.concatenate([table.mean(0), np.asarray(imagined)]) for table, imagined in tables]


def _problem_draws(
    tables: Sequence[tuple[Table, Sequence[float]]], seed: int, resamples: int
) -> tuple[list[Draws], list[float]]:
    """Each table's draws, with its imagined problems and averaged over seeds, and the centres of these draws."""
    extended = _extended(tables)
    return _products(_weights, seed, resamples, extended), [float(values.mean()) for values in extended]


def _with_seeds(draws: Draws, variance: float, centre: float, part: tuple[float, int], seed: int) -> Sampled:
    """`variance` is that of the draws; `part` is what seeds add to it, and the degrees of freedom of that."""
    added, known = part
    if not added:
        return Sampled(centre, draws, math.inf)
    freedom = (variance + added) ** 2 / (added**2 / known)
    return Sampled(centre, draws + math.sqrt(added) * _normals(seed, len(draws)), freedom)


def _first(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The smallest value in [low, high] from which a monotone condition holds, by bisection; else `high`."""
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
    """[resamples, seeds]; times the seeds' deviations and summed, Student's t times the mean's standard error."""
    rng = np.random.default_rng([seed, 2])
    freedom = max(1, seeds - 1)
    stretch = np.sqrt(freedom / rng.chisquare(freedom, resamples) / (seeds * freedom))
    return rng.standard_normal((resamples, seeds)) * stretch[:, None]


@functools.lru_cache(maxsize=4)
def _weights(seed: int, problems: int, resamples: int) -> NDArray[np.float64]:
    """[resamples, problems], rows that sum to 1. Cached: a results table needs them many times."""
    rng = np.random.default_rng([seed, 0])
    return rng.multinomial(problems, np.full(problems, 1 / problems), size=resamples) / problems
