"""What a run's evaluations support, in words: the headline and the table of comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from t5x_selfprog.evaluation.compare import Comparison, compare, require_same_problems
from t5x_selfprog.evaluation.statistics import NO_DIFFERENCE, NOT_AFTER_CORRECTION, corrected, holm
from t5x_selfprog.evaluation.table import ENUMERATOR, Row, rows
from t5x_selfprog.report.markup import percent, plural, points

# A base is improved upon; of two arms that started alike, one is higher.
_OF_TWO_ARMS = {
    "more than doubles": "more than twice",
    "improves": "higher",
    "worsens": "lower",
    NO_DIFFERENCE: NO_DIFFERENCE,
}


@dataclass(frozen=True)
class Contrast:
    """One arm against another at every k, with the word that holds after correction for several arms.

    `family` says what kind of comparison it is; those of one family are corrected together.
    """

    family: str
    left: str
    right: str
    at: dict[int, Comparison]
    claims: dict[int, str]


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
    contrasts = [
        Contrast("against the base", row.label, base.label, row.versus_base, row.claims)
        for row in arms
        if base is not None and row.versus_base and row.arm != ENUMERATOR
    ]
    if verified is not None:
        controls = [row for row in arms if row.arm not in ("base", "verified", ENUMERATOR)]
        contrasts += _corrected(
            [
                _contrast("the last iteration against the controls", verified, control, ks)
                for control in controls
            ]
        )
    if enumerator is not None:
        models = [row for row in (base, verified) if row is not None]
        contrasts += _corrected(
            [_contrast("against the guesses that need no model", row, enumerator, ks) for row in models]
        )
    headline, subline = _headline(base, verified, ks[-1])
    return Findings(arms, ks, ks[-1], base, verified, enumerator, contrasts, headline, subline)


def _headline(base: Row | None, verified: Row | None, k: int) -> tuple[str, str]:
    """Only the last iteration is spoken of: the best one, chosen afterwards, would flatter."""
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
    sentence = {
        "more than doubles": f"{who} more than doubles the base’s Pass@{k}.",
        "improves": f"{who} improves on the base at Pass@{k}.",
        "worsens": f"{who} worsens the base’s Pass@{k}.",
        NO_DIFFERENCE: f"No difference shown between {who[0].lower()}{who[1:]} and the base at Pass@{k}.",
        NOT_AFTER_CORRECTION: f"No difference between {who[0].lower()}{who[1:]} and the base at Pass@{k} is "
        "shown after correction for the number of arms.",
    }[verified.claims[k]]
    difference = comparison.difference
    return sentence, (
        f"{percent(verified.estimates[k].estimate)} against {percent(base.estimates[k].estimate)}, a difference of "
        f"{points(difference.estimate)} percentage points (95% interval {points(difference.low)} to "
        f"{points(difference.high)}), paired over {plural(comparison.problems, 'held-out problem')}."
    )


def _who(row: Row) -> str:
    iteration = row.evaluations[0].get("iteration")
    return "The base" if row.arm == "base" else f"Iteration {iteration}"


def _contrast(family: str, left: Row, right: Row, ks: Sequence[int]) -> Contrast:
    at = {}
    try:
        require_same_problems(left.evaluations, right.evaluations)
        at = {k: found for k in ks if (found := compare(left.evaluations, right.evaluations, k)) is not None}
    except ValueError:
        pass  # on other problems: the row stays, with nothing in it
    claims = {k: _OF_TWO_ARMS[comparison.claim] for k, comparison in at.items()}
    return Contrast(family, left.label, right.label, at, claims)


def _corrected(contrasts: list[Contrast]) -> list[Contrast]:
    for k in {k for contrast in contrasts for k in contrast.at}:
        members = [contrast for contrast in contrasts if k in contrast.at]
        adjusted = holm({str(i): contrast.at[k].p_value for i, contrast in enumerate(members)})
        for i, contrast in enumerate(members):
            contrast.claims[k] = corrected(contrast.claims[k], adjusted[str(i)])
    return contrasts
