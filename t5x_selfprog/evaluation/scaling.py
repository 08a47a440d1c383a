"""Pass@k against size, data or compute: a saturating power law with limits on how far it may be extrapolated.

    misses(x) = floor + scale * x^(-exponent),  Pass@k = 1 - misses,  floor and scale >= 0

For a given exponent the other two parameters are linear (non-negative least squares, in closed form for two columns),
so only one dimension is searched and no start value matters. Intervals come from a bootstrap over problems, drawn
jointly for all points since they share the same problems, and over seeds by `resampling`'s variates. The form is that
of Hestness et al. 2017, arXiv:1712.00409.

There is no law with fewer than four sizes, less than a factor of four between the ends, or no rise that the interval
shows. Predictions are given within the data and up to a factor of `REACH` beyond either end, there only where the
interval is narrower than the range of the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from t5x_selfprog.evaluation.resampling import resampled_means
from t5x_selfprog.interval import Interval

MIN_POINTS = 4
MIN_SPAN = 4.0
REACH = 2.0
EXPONENTS = np.geomspace(0.02, 4.0, 160)
_LEVEL = 0.95

Floats = NDArray[np.float64]


class NotSupported(ValueError):
    """The data does not support what was asked; the message says what is missing."""


@dataclass(frozen=True)
class PowerLaw:
    """One curve. x is measured in units of `largest`, the largest x, so that `scale` is a share."""

    floor: float
    scale: float
    exponent: float
    largest: float

    def __call__(self, x: ArrayLike) -> Floats:
        """Pass@k at x."""
        relative = np.asarray(x, np.float64) / self.largest
        return 1 - self.floor - self.scale * relative**-self.exponent


@dataclass(frozen=True)
class Fit:
    """A law with its bootstrap. `limit` is Pass@k at infinity, None where the data does not say."""

    law: PowerLaw
    exponent: Interval
    limit: Interval | None
    rise: Interval
    smallest: float
    drawn: tuple[PowerLaw, ...]
    span: float

    def predict(self, x: float) -> Interval:
        """Pass@k at x with its interval. Raises NotSupported beyond what the data supports."""
        furthest = REACH * self.law.largest
        if not self.smallest / REACH <= x <= furthest:
            raise NotSupported(
                f"x = {x:g} lies outside the data ({self.smallest:g} to {self.law.largest:g}) by more than a "
                f"factor of {REACH:g}; measure nearer to it"
            )
        values = [float(law(x)) for law in self.drawn]
        low, high = np.quantile(values, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
        inside = self.smallest <= x <= self.law.largest
        if not inside and high - low > self.span:
            raise NotSupported(
                f"at x = {x:g} the interval ({low:.3f} to {high:.3f}) is wider than all that was observed; "
                "it takes more problems, seeds or sizes"
            )
        estimate = float(self.law(x))
        return Interval(estimate, float(min(low, estimate)), float(max(high, estimate)))

    def as_dict(self) -> dict[str, Any]:
        return {
            "form": "Pass@k = 1 - floor - scale * (x / largest)^(-exponent)",
            "floor": self.law.floor,
            "scale": self.law.scale,
            "largest": self.law.largest,
            "exponent": self.exponent.as_dict(),
            "limit": self.limit.as_dict() if self.limit else None,
            "rise": self.rise.as_dict(),
            "believed_up_to": REACH * self.law.largest,
        }


def fit(xs: Sequence[float], tables: Sequence[ArrayLike], *, seed: int, resamples: int = 1000) -> Fit:
    """A law through the means of `tables`.

    Args:
      xs: sizes, positive; several points may have the same size.
      tables: Pass@k of each point, [problems] or [seeds, problems], all on the same problems.

    Raises:
      NotSupported: too few sizes, too close together, or no rise from the smallest to the largest that the
        interval shows.
      ValueError: unequal lengths, or sizes that are not positive.
    """
    x = np.asarray(xs, np.float64)
    values = [np.atleast_2d(np.asarray(table, np.float64)) for table in tables]
    if len(x) != len(values) or not len(x) or np.any(~(x > 0)):
        raise ValueError(f"as many positive sizes as tables, got {list(xs)} and {len(values)} tables")
    if len({table.shape[1] for table in values}) > 1:
        raise ValueError("all points must be measured on the same problems")
    sizes = sorted(set(x.tolist()))
    if len(sizes) < MIN_POINTS:
        raise NotSupported(f"{len(sizes)} different sizes; a law of three parameters needs {MIN_POINTS}")
    if sizes[-1] < MIN_SPAN * sizes[0]:
        raise NotSupported(
            f"sizes from {sizes[0]:g} to {sizes[-1]:g} span less than a factor of {MIN_SPAN:g}"
        )
    order = np.argsort(x, kind="stable")
    x, values = x[order], [values[i] for i in order]
    observed = np.array([table.mean() for table in values])
    drawn = np.stack(resampled_means(values, seed, resamples), axis=1)  # [resamples, points]
    first, last = x == sizes[0], x == sizes[-1]
    rises = drawn[:, last].mean(1) - drawn[:, first].mean(1)
    rise = _interval(float(observed[last].mean() - observed[first].mean()), rises)
    if rise.low <= 0:
        raise NotSupported(
            f"no rise shown from {sizes[0]:g} to {sizes[-1]:g}: {100 * rise.estimate:+.1f} points "
            f"[{100 * rise.low:+.1f}, {100 * rise.high:+.1f}]"
        )
    law = _least_squares(x, observed)
    laws = tuple(_least_squares(x, row) for row in drawn)
    exponents = np.array([found.exponent for found in laws])
    limits = np.array([1 - found.floor for found in laws])
    limit = _interval(1 - law.floor, limits)
    # A limit that may be 1 is none: the data shows a rise but not where it ends.
    at_edge = np.mean((exponents <= EXPONENTS[0]) | (limits >= 1)) > (1 - _LEVEL) / 2
    return Fit(
        law,
        _interval(law.exponent, exponents),
        None if at_edge else limit,
        rise,
        sizes[0],
        laws,
        float(observed.max() - observed.min()),
    )


def _least_squares(x: Floats, y: Floats) -> PowerLaw:
    """The best law: floor and scale of each exponent in closed form, the best exponent by search and refinement."""
    largest = float(x.max())
    errors = _errors(x / largest, y, EXPONENTS)[0]
    best = int(np.argmin(errors))
    low, high = EXPONENTS[max(best - 1, 0)], EXPONENTS[min(best + 1, len(EXPONENTS) - 1)]
    finer = np.geomspace(low, high, 41)
    errors, floors, scales = _errors(x / largest, y, finer)
    best = int(np.argmin(errors))
    return PowerLaw(float(floors[best]), float(scales[best]), float(finer[best]), largest)


def _errors(x: Floats, y: Floats, exponents: Floats) -> tuple[Floats, Floats, Floats]:
    """Squared error, floor and scale for each exponent: misses = floor + scale * x^-exponent, both >= 0."""
    misses = 1 - y
    column = x[None, :] ** -exponents[:, None]  # [exponents, points]
    centred = column - column.mean(1, keepdims=True)
    variance = (centred**2).sum(1)
    scale = np.where(variance > 1e-15, (centred * misses).sum(1) / np.maximum(variance, 1e-15), 0.0)
    scale = np.maximum(scale, 0.0)
    floor = misses.mean() - scale * column.mean(1)
    through_zero = (column * misses).sum(1) / (column**2).sum(1)
    below = floor < 0
    scale, floor = np.where(below, through_zero, scale), np.where(below, 0.0, floor)
    errors = ((misses - floor[:, None] - scale[:, None] * column) ** 2).sum(1)
    return errors, floor, scale


def _interval(estimate: float, drawn: Floats) -> Interval:
    low, high = np.quantile(drawn, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(estimate, float(min(low, estimate)), float(max(high, estimate)))
