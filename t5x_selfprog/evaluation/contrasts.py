"""Which arms are compared, in families that are corrected together, and the words for the results.

Three questions, each with its own correction (Holm, for each k): Does an arm differ from the base it came from? Does
the last verified model differ from the other arms, trained as long from the same base, and from the enumerator's
guesses? Do the base's own answers differ from those guesses?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from t5x_selfprog.evaluation.compare import (
    ALL,
    BASE,
    ENUMERATOR,
    Comparison,
    Evaluation,
    compare,
    require_same_problems,
    seeds_spread,
)
from t5x_selfprog.evaluation.crossed import Spread
from t5x_selfprog.evaluation.statistics import NO_DIFFERENCE, corrected, holm
from t5x_selfprog.interval import Interval

VERIFIED = "verified"
AGAINST_BASE = "against the base"
AGAINST_OTHERS = "verified against the others"
BASE_AGAINST_GUESSES = "the base against the guesses that need no model"

# Only a base can be improved upon; of two arms that started alike, one is higher.
OF_TWO_ARMS = {
    "more than doubles": "more than twice",
    "improves": "higher",
    "worsens": "lower",
    NO_DIFFERENCE: NO_DIFFERENCE,
}


@dataclass(frozen=True)
class Contrast:
    """One arm against another at every k; `adjusted` and `claims` are after its family's correction."""

    family: str
    left: str
    right: str
    at: dict[int, Comparison]
    claims: dict[int, str]
    adjusted: dict[int, float]

    @property
    def name(self) -> str:
        return f"{self.left} - {self.right}"

    def word(self, k: int) -> str:
        """What the intervals at k show before any correction."""
        claim = self.at[k].claim
        return claim if self.family == AGAINST_BASE else OF_TWO_ARMS[claim]

    def cells(self, k: int) -> list[str]:
        """Difference in points, ratio, p-value, corrected p-value and word; dashes where there is nothing at k."""
        if k not in self.at:
            return ["-"] * 5
        found, adjusted = self.at[k], self.adjusted.get(k)
        return [
            in_points(found.difference), in_ratio(found.ratio), p_text(found.p_value),
            "-" if adjusted is None else p_text(adjusted), self.claims[k],
        ]  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        return {
            "family": self.family,
            "left": self.left,
            "right": self.right,
            "at": {
                str(k): found.as_dict() | {"p_holm": self.adjusted.get(k), "claim": self.claims[k]}
                for k, found in self.at.items()
            },
        }


HEAD = ("comparison", "difference", "ratio", "p", "p, Holm", "shown")
EXPLANATION = (
    "Differences are paired by problem (and seed), in percentage points, ratios of Pass@k, both with plain 95% "
    "intervals. A word needs the interval and the corrected p: an interval that excludes zero beside 'not shown after "
    "correction' is what chance may bring among so many comparisons."
)


ONE_SEED = "One seed: intervals and words are about these models, not about training them again."
SEVERAL_SEEDS = (
    "Intervals and words are about training again: how far that moves a mean, the seeds of all arms of a "
    "configuration say together."
)
TWO_SEEDS = (
    " Two seeds of a single arm say little of it: where seeds differ a lot, words are wrong more often than 5% "
    "(results/statistics)."
)


def about_seeds(models: Sequence[int]) -> list[str]:
    """The note on seeds below a table, from how many models were trained for each of its arms (`models_of`)."""
    trained = [count for count in models if count]
    if not trained:
        return []
    several = [count for count in trained if count > 1]
    if not several:
        return [ONE_SEED]
    return [SEVERAL_SEEDS + (TWO_SEEDS if several == [2] else "")]


def between(
    family: str, left: tuple[str, Sequence[Evaluation]], right: tuple[str, Sequence[Evaluation]],
    spreads: Mapping[int, Spread], group: str = ALL, seed: int = 0,
) -> Contrast:  # fmt: skip
    """Two arms (label, evaluations), not yet corrected; without entries where they were measured on different problems.

    `spreads` holds, by k, how much training varies across the table's arms.
    """
    at: dict[int, Comparison] = {}
    try:
        require_same_problems(left[1], right[1])
    except ValueError:
        spreads = {}
    for k, spread in spreads.items():
        found = compare(left[1], right[1], k, group, seed, spread)
        if found is not None:
            at[k] = found
    return Contrast(family, left[0], right[0], at, {}, {})


def correct(contrasts: Sequence[Contrast]) -> None:
    """Corrects within each family by Holm's method, for each k; a word that does not survive is replaced.

    Contrasts that are corrected again in a larger family forget the smaller one.
    """
    for family in dict.fromkeys(contrast.family for contrast in contrasts):
        members = [contrast for contrast in contrasts if contrast.family == family]
        for k in {k for contrast in members for k in contrast.at}:
            asked = {str(i): c.at[k].p_value for i, c in enumerate(members) if k in c.at}
            for i, adjusted in holm(asked).items():
                contrast = members[int(i)]
                contrast.adjusted[k] = adjusted
                contrast.claims[k] = corrected(contrast.word(k), adjusted)


def of_arms(
    last: Mapping[str, tuple[str, Sequence[Evaluation]]], ks: Sequence[int], group: str = ALL, seed: int = 0
) -> list[Contrast]:
    """The second and third families, not yet corrected, from the last iteration of each arm (label, evaluations)."""
    found = []
    arms = [evaluations for _, evaluations in last.values()]
    spreads = {k: seeds_spread(arms, k, group) for k in ks}
    if VERIFIED in last:
        others = [arm for arm in last if arm not in (BASE, VERIFIED, ENUMERATOR)]
        others += [ENUMERATOR] if ENUMERATOR in last else []
        found += [between(AGAINST_OTHERS, last[VERIFIED], last[arm], spreads, group, seed) for arm in others]
    if BASE in last and ENUMERATOR in last:
        found.append(between(BASE_AGAINST_GUESSES, last[BASE], last[ENUMERATOR], spreads, group, seed))
    return [contrast for contrast in found if contrast.at]


def percent(share: float, sign: str = "") -> str:
    """0.1234 as "12.3", and as "+12.3" with sign="+"; never "-0.0"."""
    return f"{round(100 * share, 1) + 0.0:{sign}.1f}"


def in_points(interval: Interval) -> str:
    low, high = percent(interval.low, "+"), percent(interval.high, "+")
    return f"{percent(interval.estimate, '+')} [{low}, {high}]"


def in_ratio(interval: Interval) -> str:
    """ "1.75 [1.20, 2.61]"; an infinite end, or a ratio of zero to zero, is a dash."""
    values = interval.as_dict().values()
    estimate, low, high = ("-" if value is None else f"{value:.2f}" for value in values)
    return f"{estimate} [{low}, {high}]"


def p_text(p_value: float) -> str:
    """Two significant digits, and no more places than the draws can resolve: ".0008", ".11"."""
    if p_value >= 0.995:
        return "1.0"
    return f"{p_value:.2f}"[1:] if p_value >= 0.095 else f"{max(p_value, 1e-4):.4f}"[1:].rstrip("0")
