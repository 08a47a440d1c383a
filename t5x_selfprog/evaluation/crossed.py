"""How far a mean over problems would move if the models were trained again: problems and seeds as crossed effects.

A table [seeds, problems] of one arm varies by problem (B), by training seed on all problems alike (A), and by both
together, which holds the noise of sampling too (AB). The mean squares of a two-way layout tell them apart:

    MS_B  estimates  AB + S * B        MS_AB  estimates  AB        MS_A  estimates  AB + P * A
    variance of the mean = B/P + A/S + AB/(S P)

Drawing problems again after averaging over seeds gives MS_B / (S P): B and AB are in it already. What seeds add is
A / S, and A = (MS_A - MS_AB) / P. (To add all of MS_A, as this project once did, counts AB twice, under a Student's t
of two degrees of freedom: base 8%, truth 16%, 228 problems, and three seeds showed the gain in a fifth of the
experiments in which one seed showed it.)

One arm says little about A: three seeds that do not differ at all show an excess a third of the time, and three that
differ a lot show none now and then. But a table has several arms, trained alike and as often, and what is asked is
how far *training* varies. So A is one number for a table: the mean of what each arm's own seeds say, with the degrees
of freedom of all of them, sum of S - 1 (`Spread.alone`). An arm's own seeds, not its differences to the base: those
would carry the base's noise of sampling into every one of them.

What the runs of one seed have in common (the same puzzles, the same order) cancels in a difference of two trained
arms. What is left of A, the interaction of seed and arm, is in the seeds' means after those of arm and of seed are
taken away (`Spread.apart`). A model that is measured with every seed anew, as a base is, is not trained again: it has
no part in either.

The whole, V = (MS_B + X) / (S P), gets the degrees of freedom of Satterthwaite (1946, "An approximate distribution of
estimates of variance components"), V^2 / (X^2 / d). Where seeds differ by far more than problems do, this is Student's
interval of d degrees; where they do not, it is the bootstrap over problems. results/statistics compares it with other
ways, for level and power.

Assumed, then: the arms of a table vary alike from seed to seed, in points, and each by itself. Where all arms move
together, or one varies and the others do not, levels are worse: results/statistics says by how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]  # [seeds, problems]
_NOTHING = 1e-18  # of a variance of shares: seeds that agree to the last digit but one


@dataclass(frozen=True)
class Spread:
    """What training with another seed does to a mean over problems, as the arms of a table show it together.

    Attributes:
      alone: variance of one model's mean, in squared shares; known to `freedom` degrees (0: nothing is known).
      apart: what is left of it between two arms of the same seeds (half the variance of their difference); known to
        `freedom_apart`.
    """

    alone: float = 0.0
    freedom: int = 0
    apart: float = 0.0
    freedom_apart: int = 0


@dataclass(frozen=True)
class Trained:
    """How many models were trained behind either side of a comparison (0: one that nobody trains again), and how
    far they vary."""

    spread: Spread
    arm: int
    base: int = 0

    def part(self, ratio: float = 1.0) -> tuple[float, int]:
        """What seeds add to the variance of mean(arm) - ratio * mean(base), and to how many degrees it is known."""
        spread, arm, base = self.spread, self.arm, self.base
        if arm == base > 1 and spread.freedom_apart:  # seed by seed
            together = (1 - ratio) ** 2 * spread.alone + 2 * ratio * spread.apart
            return together / arm, spread.freedom_apart
        models = (1 / arm if arm else 0.0) + (ratio**2 / base if base else 0.0)
        return models * spread.alone, spread.freedom


def spread_of(arms: Sequence[Table]) -> Spread:
    """Of arms that were trained with several seeds; those with one say nothing, and are allowed.

    Arms with as many seeds are taken to have the same ones, in the same order.
    """
    several = [arm for arm in arms if len(arm) > 1]
    freedom = sum(len(arm) - 1 for arm in several)
    if not freedom:
        return Spread()
    noise = sum((len(arm) - 1) * _sampling(arm) for arm in several) / freedom
    alone = sum((len(arm) - 1) * float(arm.mean(1).var(ddof=1)) for arm in several) / freedom
    left, freedom_apart = 0.0, 0
    for seeds in {len(arm) for arm in several}:
        means = np.stack([arm.mean(1) for arm in several if len(arm) == seeds])  # [arms, seeds]
        rest = means - means.mean(1, keepdims=True) - means.mean(0) + means.mean()
        left += float((rest**2).sum())
        freedom_apart += (len(means) - 1) * (seeds - 1)
    apart = left / freedom_apart if freedom_apart else 0.0
    return Spread(_beyond(alone, noise), freedom, _beyond(apart, noise), freedom_apart)


def share_of_seeds(table: Table) -> float:
    """Of the observed spread between the seeds of one arm, what problems and sampling do not explain."""
    if len(table) == 1:
        return 0.0
    between = float(table.mean(1).var(ddof=1))
    excess = _beyond(between, _sampling(table))
    return excess / between if excess else 0.0


def _sampling(table: Table) -> float:
    """MS_AB / P: how far the means of seeds lie apart that differ in nothing but sampling."""
    seeds, problems = table.shape
    rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    return float((rest**2).sum()) / ((seeds - 1) * max(1, problems - 1) * problems)


def _beyond(variance: float, noise: float) -> float:
    return variance - noise if variance - noise > _NOTHING else 0.0
