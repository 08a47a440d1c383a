"""The section on results: every arm with its intervals, over more attempts, and against the others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from t5x_selfprog.evaluation.compare import estimate, value_table
from t5x_selfprog.evaluation.contrasts import Contrast, p_text
from t5x_selfprog.evaluation.statistics import NOTHING_SHOWN
from t5x_selfprog.evaluation.table import Row, spread
from t5x_selfprog.interval import Interval
from t5x_selfprog.report.findings import Findings
from t5x_selfprog.report.markup import MINUS, Markup, count, element, join, percent, points
from t5x_selfprog.report.pieces import captioned, fallback, section, table
from t5x_selfprog.report.plots import Curve, IntervalRow, arm_style, curve_plot, interval_panel

_CURVE_KS = (1, 2, 3, 5, 7, 10, 14, 20, 30, 50, 70, 100, 140, 200, 300, 500, 700, 1000)


def results(found: Findings) -> Markup:
    panels = [_interval_panel(found, k) for k in found.ks]
    groups = [group for group in found.rows[0].evaluations[0]["pass_at_k"] if group != "all"]
    return section(
        "results",
        "Results",
        "Pass@k is the chance that at least one of k attempts is right, estimated without bias from all attempts. "
        "Whiskers are 95% intervals over problems.",
        element("div", *panels, class_="panels"),
        _legend(found),
        _results_table(found),
        _curves(found),
        _contrasts(found) if found.contrasts else None,
        _groups_table(found, groups) if len(groups) > 1 else None,
    )


def _interval_panel(found: Findings, k: int) -> Markup:
    drawn = [
        IntervalRow(row.label, arm_style(row.arm), row.estimates[k])
        for row in found.rows
        if k in row.estimates
    ]
    references = [
        (row.arm, row.estimates[k].estimate)
        for row in (found.enumerator, found.base)
        if row is not None and k in row.estimates
    ]
    return captioned(
        f"Pass@{k}", interval_panel(f"Pass@{k} of each arm with 95% intervals", drawn, references)
    )


def _legend(found: Findings) -> Markup:
    lines = [
        element("span", element("i", class_=f"key {arm_style(row.arm)}"), text, class_="legend")
        for row, text in (
            (found.base, "the base"),
            (found.enumerator, "the enumerator: typed guesses, no model"),
        )
        if row is not None
    ]
    return element("p", *lines, class_="legends")


def _results_table(found: Findings) -> Markup:
    head = ["arm", *(f"Pass@{k}" for k in found.ks), "solved"]
    body = [
        [_unbroken(row.label), *(_interval(row.estimates.get(k)) for k in found.ks), row.solved("all")]
        for row in found.rows
    ]
    return fallback("Numbers", table(head, body))


def _curves(found: Findings) -> Markup:
    curves = []
    for row in found.rows:
        most = min(max(p["n"] for p in evaluation["problems"]) for evaluation in row.evaluations)
        ks = [k for k in _CURVE_KS if k <= max(most, 2)]
        means = {k: _mean(row, k) for k in ks}
        ks = [k for k in ks if means[k] is not None]
        last = row is found.base or row is found.verified
        band = (
            [
                interval
                for k in ks
                if (interval := estimate(row.evaluations, k, spread=spread(found.rows, k))) is not None
            ]
            if last
            else []
        )
        earlier = row.arm == "verified" and row is not found.verified
        style = f"{row.arm} earlier" if earlier else arm_style(row.arm)
        curves.append(Curve(row.label, style, ks, [means[k] or 0.0 for k in ks], band))
    curves = [curve for curve in curves if len(curve.ks) > 1]
    if not curves:
        return Markup("")
    head = ["k", *(curve.label for curve in curves)]
    all_ks = sorted({k for curve in curves for k in curve.ks})
    body = [
        [count(k), *(percent(dict(zip(c.ks, c.values, strict=True)).get(k)) for c in curves)] for k in all_ks
    ]
    return join(
        [
            element("h3", "What more attempts buy"),
            element("div", curve_plot("Pass@k over k for each arm", curves), class_="wide", tabindex=0),
            element("p", "Bands: 95% intervals of the base and of the last iteration.", class_="note"),
            fallback("Numbers", table(head, body)),
        ]
    )


def _mean(row: Row, k: int) -> float | None:
    values = value_table(row.evaluations, k)
    everything = [value for seeds in values.values() for value in seeds]
    enough = 2 * len(values) >= len(row.evaluations[0]["problems"])
    return sum(everything) / len(everything) if enough else None


def _contrasts(found: Findings) -> Markup:
    head = ["", *(f"Pass@{k}" for k in found.ks)]
    body: list[Sequence[object]] = []
    for family, members in itertools.groupby(found.contrasts, key=lambda contrast: contrast.family):
        body.append([family])
        body += [[_versus(contrast), *(_difference(contrast, k) for k in found.ks)] for contrast in members]
    return join(
        [
            element("h3", "What the intervals support"),
            element(
                "p",
                "Differences in percentage points with 95% intervals, paired by problem; p as it is, and after Holm’s "
                "correction within each family. A word stands only where the interval excludes zero (or a ratio of "
                "two) and the corrected p is below .05: among so many comparisons, chance may bring an interval that "
                "excludes zero.",
                class_="lead",
            ),
            element("div", table(head, body), class_="wide", tabindex=0),
        ]
    )


def _versus(contrast: Contrast) -> Markup:
    return join([element("b", _unbroken(contrast.left)), " ", _unbroken(f"{MINUS} {contrast.right}")])


def _unbroken(label: str) -> str:
    """ "verified 1" does not break in a narrow column."""
    return label.replace(" ", "\N{NO-BREAK SPACE}")


def _difference(contrast: Contrast, k: int) -> object:
    if k not in contrast.at:
        return ""
    interval, word = contrast.at[k].difference, contrast.claims[k]
    style = "none" if word in NOTHING_SHOWN else "down" if word in ("worsens", "lower") else "up"
    return join(
        [
            element("span", points(interval.estimate), class_="number"),
            element("span", f" ({points(interval.low)} to {points(interval.high)})", class_="quiet"),
            element("span", f" · p {p_text(contrast.at[k].p_value)}{_holm(contrast, k)}", class_="quiet"),
            element("span", word, class_=f"word {style}"),
        ]
    )


def _holm(contrast: Contrast, k: int) -> str:
    return f", Holm {p_text(contrast.adjusted[k])}" if k in contrast.adjusted else ""


def _groups_table(found: Findings, groups: Sequence[str]) -> Markup:
    k = found.k
    head = ["arm", *groups]
    spreads = {group: spread(found.rows, k, group) for group in groups}
    body = [
        [
            _unbroken(row.label),
            *(_interval(estimate(row.evaluations, k, group, 0, spreads[group])) for group in groups),
        ]
        for row in found.rows
    ]
    content = element("div", table(head, body), class_="wide", tabindex=0)
    return join([element("h3", f"By group, Pass@{k}"), content])


def _interval(interval: Interval | None) -> object:
    if interval is None:
        return ""
    between = f" ({percent(interval.low)} to {percent(interval.high)})"
    return join(
        [
            element("span", percent(interval.estimate), class_="number"),
            element("span", between, class_="quiet"),
        ]
    )
