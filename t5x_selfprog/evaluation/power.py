"""How many problems, attempts and seeds it takes to see a gain: simulates the experiment and judges it as ours are.

A trial draws problems with their base difficulty, an arm whose log odds are shifted from the base's (by what gives the
wanted mean gain in Pass@k) and attempts of both, and asks `statistics` for the claim, as tables and studies do. Power
is the share of trials in which the claim is "improves" (or better) and the p-value survives Holm's correction for
`arms` comparisons.

Two nuisance parameters matter more than the gain, and both are assumptions unless a pilot says otherwise: `per_problem`
is how much an arm's log odds vary from problem to problem beyond the common shift (training helps here and hurts
there), `per_seed` how much they vary between training seeds on all problems alike. The default of `per_problem` gives
the interval widths that results/quickstart has at Pass@1 and Pass@10.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t5x_selfprog.evaluation.crossed import Trained, spread_of
from t5x_selfprog.evaluation.pass_at_k import pass_at_k
from t5x_selfprog.evaluation.statistics import corrected, difference_and_test
from t5x_selfprog.interval import Interval

_POPULATION = 20_000  # problems drawn to find the shift


@dataclass(frozen=True)
class Design:
    """An experiment to be planned.

    Attributes:
      gain: of Pass@k, as a share: 0.03 is three percentage points.
      k: of the Pass@k that is compared.
      problems, attempts, seeds: its size. Base and arm are measured once per seed.
      base: Pass@k of the base, used without a pilot.
      spread: first parameter of the Beta distribution of difficulties without a pilot; small means that most
        problems are nearly impossible and a few easy. 0.1 resembles small models on P3.
      per_problem, per_seed: standard deviations of log odds, see above.
      arms: how many arms are compared with the base, for the correction.
      alike: how many of them, the arms of one table, share one estimate of how much training varies (None: all).
      others: gain of the other arms (None: the same).
    """

    gain: float
    k: int = 10
    problems: int = 228
    attempts: int = 100
    seeds: int = 3
    base: float = 0.1
    spread: float = 0.1
    per_problem: float = 2.0
    per_seed: float = 0.1
    arms: int = 4
    alike: int | None = None
    others: float | None = None

    def __post_init__(self) -> None:
        for name in ("k", "problems", "attempts", "seeds", "arms"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.alike is not None and not 1 <= self.alike <= self.arms:
            raise ValueError(f"alike must be 1 to {self.arms}, the number of arms, got {self.alike}")
        if self.k > self.attempts:
            raise ValueError(f"Pass@{self.k} needs at least {self.k} attempts a problem, got {self.attempts}")
        if not 0 < self.base < 1 or not 0 < self.base + self.gain < 1:
            raise ValueError(f"base and base + gain must lie in (0, 1), got {self.base} and {self.gain:+}")

    @property
    def together(self) -> int:
        return self.alike or self.arms


def power(
    design: Design, *, pilot: Sequence[Mapping[str, Any]] = (), trials: int = 200, seed: int = 0
) -> float:
    """The chance that `design` ends with the claim that its gain deserves.

    Args:
      pilot: problems of a base evaluation ("n" attempts, "c" accepted), from which difficulties are drawn.
    """
    made_up = Experiments.of(design, pilot, seed)
    claims = 0
    for trial in range(trials):
        base, arms = made_up.draw(trial, design.together)
        claims += shows_gain(base, arms, design.arms)
    return float(claims / trials)


@dataclass(frozen=True)
class Experiments:
    """Simulated experiments of one design: log odds of many problems, and the shift that gives an arm its gain."""

    design: Design
    population: NDArray[np.float64]
    shift: float
    shift_of_others: float
    seed: int

    @classmethod
    def of(cls, design: Design, pilot: Sequence[Mapping[str, Any]] = (), seed: int = 0) -> Experiments:
        rng = np.random.default_rng([seed, 0])
        population = _log_odds(_difficulties(design, pilot, _POPULATION, rng))
        noise = rng.normal(0, np.hypot(design.per_problem, design.per_seed), _POPULATION)
        shift = _shift(population, noise, design.gain, design.k)
        others = shift if design.others is None else _shift(population, noise, design.others, design.k)
        return cls(design, population, shift, others, seed)

    def draw(self, trial: int, arms: int = 1) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
        """Pass@k of the base, and of the gaining arm and the other arms, each [seeds, problems].

        The base is one model, measured again with every seed, as in a study.
        """
        design, rng = self.design, np.random.default_rng([self.seed, 1, trial])
        shape = (design.seeds, design.problems)
        base_odds = rng.choice(self.population, design.problems)
        found = [self.measured(base_odds, shape, rng)]
        for shift in [self.shift, *[self.shift_of_others] * (arms - 1)]:
            own = base_odds + shift + rng.normal(0, design.per_problem, design.problems)
            found.append(self.measured(own + rng.normal(0, design.per_seed, (design.seeds, 1)), shape, rng))
        return found[0], found[1:]

    def measured(
        self, log_odds: NDArray[np.float64], shape: tuple[int, int], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        n = self.design.attempts
        return _values(n, self.design.k)[rng.binomial(n, _chances(log_odds), shape)]


@functools.lru_cache(maxsize=8)
def _values(attempts: int, k: int) -> NDArray[np.float64]:
    """Pass@k by the number of right attempts."""
    return pass_at_k(attempts, np.arange(attempts + 1), k)


def shows_gain(base: NDArray[np.float64], arms: Sequence[NDArray[np.float64]], compared: int) -> bool:
    """Whether tables and studies would say "improves" (or better) of the first arm, by Holm's first step.

    That is as if it were one of `compared` arms. All arms' seeds estimate how much training varies; the base is one
    model.
    """
    trained = Trained(spread_of(arms), len(arms[0]))
    # All trials use one bootstrap seed, whose draws are cached.
    return claims_gain(*difference_and_test(arms[0], base, seed=0, trained=trained), compared)


def claims_gain(difference: Interval, p_value: float, arms: int) -> bool:
    return difference.low > 0 and corrected("improves", min(1.0, p_value * arms)) == "improves"


def smallest(
    design: Design,
    field: str,
    sizes: Sequence[int],
    *,
    wanted: float = 0.8,
    pilot: Sequence[Mapping[str, Any]] = (),
    trials: int = 200,
) -> tuple[int | None, dict[int, float]]:
    """The smallest of `sizes` of one field that has the wanted power, or None, and the power of each size up to it.

    The field is "problems", "attempts" or "seeds".
    """
    found: dict[int, float] = {}
    for size in sorted(sizes):
        found[size] = power(replace(design, **{field: size}), pilot=pilot, trials=trials)
        if found[size] >= wanted:
            return size, found
    return None, found


SIZES = {
    "problems": (20, 40, 76, 150, 228, 400, 800, 1600),
    "attempts": (10, 20, 50, 100, 200, 500, 1000),
    "seeds": (1, 2, 3, 5, 8, 12, 20),
}


def _difficulties(
    design: Design, pilot: Sequence[Mapping[str, Any]], count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Chances that one attempt of the base solves a problem."""
    if pilot:
        n, c = (np.array([problem[key] for problem in pilot], np.float64) for key in ("n", "c"))
        # 0 of 100 is not impossible: each problem's posterior under the pilot's own prior.
        a, b = _beta_of(n, c)
        drawn = rng.integers(len(n), size=count)
        return rng.beta(c[drawn] + a, n[drawn] - c[drawn] + b)
    uniform = rng.random(count)

    def at(other: float) -> NDArray[np.float64]:
        from scipy.special import betaincinv

        return betaincinv(design.spread, other, uniform)

    low, high = 1e-3, 1e4  # the second parameter; Pass@k falls as it grows
    for _ in range(30):
        middle = float(np.sqrt(low * high))
        if _expected(at(middle), design.k) > design.base:
            low = middle
        else:
            high = middle
    return at(low)


def _beta_of(n: NDArray[np.float64], c: NDArray[np.float64]) -> tuple[float, float]:
    """The Beta distribution with the observed mean that makes the counts likeliest (beta-binomial)."""
    from scipy.special import betaln

    mean = min(max(c.sum() / n.sum(), 1e-4), 1 - 1e-4)
    candidates = [(a, a * (1 - mean) / mean) for a in np.geomspace(0.003, 30, 80)]
    return max(candidates, key=lambda ab: np.sum(betaln(c + ab[0], n - c + ab[1]) - betaln(*ab)))


def _expected(chances: NDArray[np.float64], k: int) -> float:
    return float(np.mean(-np.expm1(k * np.log1p(-np.minimum(chances, 1 - 1e-12)))))


def _shift(population: NDArray[np.float64], noise: NDArray[np.float64], gain: float, k: int) -> float:
    """What to add to all log odds for the wanted gain in Pass@k."""
    wanted = _expected(_chances(population), k) + gain
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        if _expected(_chances(population + noise + middle), k) < wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _log_odds(chances: NDArray[np.float64]) -> NDArray[np.float64]:
    chances = np.clip(chances, 1e-12, 1 - 1e-12)
    return np.log(chances) - np.log1p(-chances)


def _chances(log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.clip(log_odds, -50, 50)))
