"""How far a mean over problems and training seeds would move if other seeds were trained: crossed random effects.

A table [seeds, problems] varies by problem (B), by seed on all problems alike (A), and by both together, which
holds the noise of sampling too (AB). The variance of its mean has a part of each, and the mean squares of a two-way
layout tell them apart:

    MS_B  estimates  AB + S * B        MS_AB  estimates  AB        MS_A  estimates  AB + P * A
    variance of the mean = B/P + A/S + AB/(S P) = (MS_B + MS_A - MS_AB) / (S P)

Drawing problems again after averaging over seeds gives MS_B / (S P): B and AB are in it already. What seeds add is the
*excess* of MS_A over MS_AB alone. (To add all of MS_A, as this project once did, counts AB twice, under a Student's t
of two degrees of freedom: base 8%, truth 16%, 228 problems, and three seeds showed the gain in a fifth of the
experiments in which one seed showed it.)

MS_A is known from few seeds, d = S - 1 degrees of freedom: three that do not differ at all show an excess a third of
the time, and three that differ a lot show none now and then. So

- the excess X is counted beyond (1 + 2/d^2) MS_AB;
- where problems hardly vary, the whole is at least 2.5 MS_AB (with more than five seeds less): smaller, it would rest
  on seeds that look alike by chance, and of five arms without a gain one would be said to improve in 7% of experiments;
- the whole, V, gets the degrees of freedom of Satterthwaite (1946, "An approximate distribution of estimates of
  variance components"), V^2 / (X^2 / d).

Where seeds differ by far more than problems do, this is Student's interval of d degrees; where they do not, it is
the bootstrap over problems. Both numbers were chosen by simulation, for level and power (results/statistics).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]  # [seeds, problems]


@dataclass(frozen=True)
class SeedPart:
    """What seeds add to the variance of a mean.

    Attributes:
      variance: of it, `shown` is known from their spread, the rest is the least that is assumed.
      freedom: to which `shown` is known.
      share: of the observed spread between seeds that is theirs.
    """

    variance: float
    shown: float
    freedom: int
    share: float


def seed_part(table: Table) -> SeedPart:
    """The excess of the spread between seeds over what problems and sampling explain; nothing for one seed."""
    seeds, problems = table.shape
    freedom = seeds - 1
    if not freedom:
        return SeedPart(0.0, 0.0, 1, 0.0)
    by_seed, by_problem, mean = table.mean(1), table.mean(0), table.mean()
    between = problems * float(((by_seed - mean) ** 2).sum()) / freedom
    of_problems = seeds * float(((by_problem - mean) ** 2).sum()) / max(1, problems - 1)
    rest = table - by_seed[:, None] - by_problem + mean
    together = float((rest**2).sum()) / (freedom * max(1, problems - 1))
    if between + together <= 1e-15:  # seeds that agree to the last digit but one
        return SeedPart(0.0, 0.0, freedom, 0.0)
    excess = max(0.0, between - (1 + 2 * freedom**-2) * together)
    least = (1 + min(1.5, 6 / freedom)) * together - of_problems
    size = seeds * problems
    share = excess / between if excess else 0.0
    return SeedPart(max(excess, least) / size, excess / size, freedom, share)


def contrast_parts(arm: Table, base: Table, ratio: float = 1.0) -> list[SeedPart]:
    """Of arm - ratio * base: seed by seed where both have as many (they are paired) or one has one, else of each."""
    if len(arm) == len(base) or 1 in (len(arm), len(base)):
        return [seed_part(arm - ratio * base)]
    return [seed_part(arm), seed_part(ratio * base)]


def freedom_of(problems_variance: float, parts: Sequence[SeedPart]) -> float:
    """Satterthwaite's degrees of freedom of the whole; infinite where seeds add nothing."""
    total = problems_variance + sum(part.variance for part in parts)
    known = sum(part.shown**2 / part.freedom for part in parts)
    return total**2 / known if known > 0 else math.inf
