"""What a run's evaluations support, in words: the headline and the table of comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from t5x_selfprog.evaluation.contrasts import ENUMERATOR, Contrast
from t5x_selfprog.evaluation.statistics import NO_DIFFERENCE, NOT_AFTER_CORRECTION, NOTHING_SHOWN
from t5x_selfprog.evaluation.table import Row, comparisons, rows
from t5x_selfprog.report.markup import percent, plural, points

# An interval of a difference that is wider than this contains any effect one might hope for: it shows nothing.
TELLS_NOTHING = 0.3


@dataclass(frozen=True)
class Findings:
    """`rows` are the arms; `k` is the headline's, the largest; `verified` is the last iteration's row."""

    rows: list[Row]
    ks: list[int]
    k: int
    base: Row | None
    verified: Row | None
    enumerator: Row | None
    contrasts: list[Contrast]
    headline: str
    subline: str


def find(evaluations: Sequence[dict[str, Any]]) -> Findings | None:
    """None where nothing is evaluated yet."""
    arms = rows(evaluations) if evaluations else []
    if not arms:
        return None
    by_arm = {row.arm: row for row in arms}  # the last iteration of each
    base, verified, enumerator = by_arm.get("base"), by_arm.get("verified"), by_arm.get(ENUMERATOR)
    models = [row for row in arms if row.arm != ENUMERATOR] or arms
    ks = sorted({k for row in models for k in row.estimates})
    contrasts = comparisons(arms)
    headline, subline = _headline(base, verified, ks[-1])
    return Findings(arms, ks, ks[-1], base, verified, enumerator, contrasts, headline, subline)


def _headline(base: Row | None, verified: Row | None, k: int) -> tuple[str, str]:
    """Reports only the last iteration: the best one, chosen afterwards, would flatter."""
    measured = base or verified
    if base is None or verified is None or k not in verified.versus_base:
        if measured is None or k not in measured.estimates:
            return "Nothing is measured yet.", "The base and the first iteration have still to be evaluated."
        interval = measured.estimates[k]
        between = f"95% interval {percent(interval.low)} to {percent(interval.high)}"
        return (
            "Nothing to compare yet.",
            f"{_who(measured)} has a Pass@{k} of {percent(interval.estimate)} ({between}).",
        )
    who, comparison = _who(verified), verified.versus_base[k]
    difference = comparison.difference
    between = (
        f"{percent(verified.estimates[k].estimate)} against {percent(base.estimates[k].estimate)}, a difference of "
        f"{points(difference.estimate)} percentage points (95% interval {points(difference.low)} to "
        f"{points(difference.high)}), paired over {plural(comparison.problems, 'held-out problem')}."
    )
    if verified.claims[k] in NOTHING_SHOWN and difference.high - difference.low > TELLS_NOTHING:
        return f"Too few problems to tell {who[0].lower()}{who[1:]} from the base.", f"Pass@{k} is {between}"
    sentence = {
        "more than doubles": f"{who} more than doubles the base’s Pass@{k}.",
        "improves": f"{who} improves on the base at Pass@{k}.",
        "worsens": f"{who} worsens the base’s Pass@{k}.",
        NO_DIFFERENCE: f"No difference shown between {who[0].lower()}{who[1:]} and the base at Pass@{k}.",
        NOT_AFTER_CORRECTION: f"No difference between {who[0].lower()}{who[1:]} and the base at Pass@{k} is "
        "shown after correction for the number of arms.",
    }[verified.claims[k]]
    return sentence, between


def _who(row: Row) -> str:
    iteration = row.evaluations[0].get("iteration")
    return "The base" if row.arm == "base" else f"Iteration {iteration}"
