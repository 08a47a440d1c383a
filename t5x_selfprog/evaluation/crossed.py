"""How far a mean over problems would move if the models were trained again: problems and seeds as crossed effects.

A table [seeds, problems] of one arm varies by problem (B), by training seed on all problems alike (A), and by both
together, which includes sampling noise (AB). The mean squares of a two-way layout separate them:

    MS_B  estimates  AB + S * B        MS_AB  estimates  AB        MS_A  estimates  AB + P * A
    variance of the mean = B/P + A/S + AB/(S P)

Resampling problems after averaging over seeds gives MS_B / (S P), which already contains B and AB. Seeds add A / S,
with A = (MS_A - MS_AB) / P. (Adding all of MS_A, as this project once did, counts AB twice, under a Student's t with
two degrees of freedom: with base 8%, truth 16% and 228 problems, three seeds showed the gain in a fifth of the
experiments in which one seed showed it.)

One arm says little about A: three seeds that do not differ at all show an excess a third of the time, and three that
differ a lot sometimes show none. But a table has several arms, trained alike and equally often, and the question is how
much *training* varies. So A is one number per table: the mean of the estimates from each arm's own seeds, with the
degrees of freedom of all of them, the sum of S - 1 (`Spread.alone`). Differences to the base would not do: each of them
would contain the base's sampling noise.

What the runs of one seed share (the same puzzles, the same order) cancels in a difference of two trained arms. What
remains of A, the interaction of seed and arm, is in the seeds' means after the effects of arm and of seed are
subtracted (`Spread.apart`). A model that is measured again with every seed but not trained again, as a base is,
contributes to neither.

The total, V = (MS_B + X) / (S P), gets the degrees of freedom of Satterthwaite (1946, "An approximate distribution of
estimates of variance components"), V^2 / (X^2 / d). Where seeds differ far more than problems do, this is Student's
interval of d degrees; where they do not, it is the bootstrap over problems. results/statistics compares its level and
power with those of other methods.

Assumptions: all arms of a table vary equally from seed to seed, in points, and independently of each other. Where all
arms move together, or one varies and the others do not, levels are worse; results/statistics says by how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]  # [seeds, problems]
_NOTHING = 1e-18  # a variance of shares below which seeds agree to all digits but the last


@dataclass(frozen=True)
class Spread:
    """What training with another seed does to a mean over problems, estimated from all arms of a table.

    Attributes:
      alone: variance of one model's mean, in squared shares; known to `freedom` degrees of freedom (0: unknown).
      apart: what remains of it between two arms of the same seeds (half the variance of their difference); known to
        `freedom_apart` degrees.
    """

    alone: float = 0.0
    freedom: int = 0
    apart: float = 0.0
    freedom_apart: int = 0


@dataclass(frozen=True)
class Trained:
    """How many models were trained for either side of a comparison (0: not a trained model), and how much they vary."""

    spread: Spread
    arm: int
    base: int = 0

    def part(self, ratio: float = 1.0) -> tuple[float, int]:
        """What seeds add to the variance of mean(arm) - ratio * mean(base), and its degrees of freedom."""
        spread, arm, base = self.spread, self.arm, self.base
        if arm == base > 1 and spread.freedom_apart:  # seed by seed
            together = (1 - ratio) ** 2 * spread.alone + 2 * ratio * spread.apart
            return together / arm, spread.freedom_apart
        models = (1 / arm if arm else 0.0) + (ratio**2 / base if base else 0.0)
        return models * spread.alone, spread.freedom


def spread_of(arms: Sequence[Table]) -> Spread:
    """The spread of arms trained with several seeds; arms with one seed are allowed but add nothing.

    Arms with equally many seeds are assumed to have the same ones, in the same order.
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
    """The share of one arm's spread between seeds that problems and sampling do not explain."""
    if len(table) == 1:
        return 0.0
    between = float(table.mean(1).var(ddof=1))
    excess = _beyond(between, _sampling(table))
    return excess / between if excess else 0.0


def _sampling(table: Table) -> float:
    """MS_AB / P: the variance between means of seeds that differ in nothing but sampling."""
    seeds, problems = table.shape
    rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    return float((rest**2).sum()) / ((seeds - 1) * max(1, problems - 1) * problems)


def _beyond(variance: float, noise: float) -> float:
    return variance - noise if variance - noise > _NOTHING else 0.0
