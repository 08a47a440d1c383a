"""The sections of the page, each from collected data to HTML: results, yield, outcomes, difficulty, variety."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from t5x_selfprog.evaluation.compare import estimate, value_table
from t5x_selfprog.evaluation.contrasts import Contrast, p_text
from t5x_selfprog.evaluation.diversity import Diversity, diversity, solve_rate_histogram
from t5x_selfprog.evaluation.statistics import NOTHING_SHOWN
from t5x_selfprog.evaluation.table import Row, spread
from t5x_selfprog.interval import Interval
from t5x_selfprog.report.collect import Iteration, SourceProblem
from t5x_selfprog.report.findings import Findings
from t5x_selfprog.report.markup import EN_DASH, MINUS, Markup, count, element, join, percent, plural, points
from t5x_selfprog.report.plots import (
    Bar,
    Curve,
    IntervalRow,
    arm_style,
    bar_panel,
    column_panel,
    curve_plot,
    interval_panel,
)

_CURVE_KS = (1, 2, 3, 5, 7, 10, 14, 20, 30, 50, 70, 100, 140, 200, 300, 500, 700, 1000)

_STEPS = {
    "sampled": "sampled",
    "parsed": "parsed",
    "well_formed": "well-formed",
    "new": "new",
    "non_trivial": "non-trivial",
    "distinct": "distinct",
    "solved": "solved",
    "kept": "pairs kept",
}


def section(anchor: str, title: str, lead: str, *parts: object, half: bool = False) -> Markup:
    """`half`: on a wide page, another section fits beside it."""
    return element(
        "section",
        element("h2", title),
        element("p", lead, class_="lead") if lead else None,
        *parts,
        id=anchor,
        aria_label=title,
        class_="half" if half else None,
    )


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


def funnel(iterations: Sequence[Iteration]) -> Markup:
    drawn = [iteration for iteration in iterations if iteration.funnel]
    panels, body = [], []
    for iteration in drawn:
        steps = (iteration.funnel or {})["stages"]
        bars, previous = [], None
        for step in steps:
            share = percent(step["count"] / previous, 0) if previous and step["name"] != "kept" else ""
            name, style = _STEPS.get(step["name"], step["name"]), "outcome" if step["name"] == "kept" else ""
            bars.append(Bar(name, step["count"], count(step["count"]), share, style))
            previous = step["count"]
        refused = [
            Bar(reason.replace("_", " "), number, count(number))
            for reason, number in list((iteration.funnel or {})["rejections"].items())[:8]
        ]
        name = f"Iteration {iteration.number}"
        panels.append(
            pair(
                bars_or_nothing(name, f"{name}: the yield", bars, "verified"),
                bars_or_nothing("Refused because", f"{name}: refused", refused, "refused")
                if refused
                else None,
            )
        )
        body += [[name, bar.label, bar.text, bar.note] for bar in bars]
        body += [[name, f"refused: {bar.label}", bar.text, ""] for bar in refused]
    return section(
        "yield",
        "Yield",
        "How many of the puzzles the model wrote survive each step; the share is of the step before. "
        "One solved puzzle gives up to eight training pairs, so the last bar counts pairs.",
        element("div", *panels, class_="panels"),
        fallback("Numbers", table(["iteration", "step", "count", "of the step before"], body)),
    )


def outcomes(iterations: Sequence[Iteration]) -> Markup:
    drawn = [iteration for iteration in iterations if iteration.outcomes]
    panels, body = [], []
    for iteration in drawn:
        total = iteration.outcomes.total()
        merged: dict[str, int] = {}
        for outcome, number in iteration.outcomes.most_common():
            body.append([f"Iteration {iteration.number}", outcome, count(number), percent(number / total)])
            family = outcome.split(":")[0].replace("_", " ")
            merged[family] = merged.get(family, 0) + number
        ordered = sorted(merged.items(), key=lambda item: (item[0] != "accepted", -item[1]))
        bars = [
            Bar(
                name, number, percent(number / total), count(number), "verified" if name == "accepted" else ""
            )
            for name, number in ordered
        ]
        caption = f"Iteration {iteration.number}: {plural(total, 'attempt')}"
        panels.append(bars_or_nothing(caption, f"{caption} by outcome", bars, "outcome"))
    return section(
        "outcomes",
        "Outcomes",
        "How the attempts at the model’s own puzzles ended, as the verifier judged them.",
        element("div", *panels, class_="panels"),
        fallback("Numbers", table(["iteration", "outcome", "attempts", "share"], body)),
        half=len(panels) == 1,
    )


def difficulty(iterations: Sequence[Iteration]) -> Markup:
    panels, body = [], []
    for iteration in iterations:
        if not iteration.attempts_of:
            continue
        bars = []
        for entry in solve_rate_histogram(iteration.attempts_of):
            label = "0" if entry["above"] is None else f"≤{percent(entry['up_to'], 0)}"
            bars.append(
                Bar(label, entry["count"], count(entry["count"]), f"puzzles, {percent(entry['share'])}")
            )
            body.append(
                [f"Iteration {iteration.number}", label, count(entry["count"]), percent(entry["share"])]
            )
        caption = f"Iteration {iteration.number}: {plural(len(iteration.attempts_of), 'puzzle')}"
        panel = column_panel(f"{caption} by solve rate", bars, "verified", "share of attempts accepted")
        panels.append(captioned(caption, panel))
    return section(
        "difficulty",
        "Difficulty",
        "Puzzles by the share of attempts that solved them. Those on the left teach nothing yet, "
        "those on the right nothing any more.",
        element("div", *panels, class_="panels"),
        fallback("Numbers", table(["iteration", "solve rate", "puzzles", "share"], body)),
        half=len(panels) == 1,
    )


def variety(iterations: Sequence[Iteration], train: Mapping[str, SourceProblem] = {}) -> Markup:
    """Novelty is measured against `train` and the puzzles of earlier iterations."""
    before = [problem.source for problem in train.values()]
    found: list[tuple[Iteration, Diversity]] = []
    for iteration in iterations:
        if iteration.kept:
            found.append((iteration, diversity(iteration.kept, iteration.behaviours, before)))
            before = before + [record["source"] for record in iteration.kept]
    head = [
        "iteration", "puzzles", "syntax shapes", "in the largest shape", "new shapes", "behaviours",
        "effective number (Vendi)", "distance to the nearest before",
    ]  # fmt: skip
    body = [[iteration.number, *_variety_cells(measured)] for iteration, measured in found]
    panels = []
    for iteration, measured in found:
        name = f"Iteration {iteration.number}"
        types = [Bar(kind, n, count(n)) for kind, n in list(measured.answer_types.items())[:8]]
        used = [
            Bar(word, n, count(n), percent(n / measured.distinct, 0))
            for word, n in list(measured.concepts.items())[:12]
        ]
        panels.append(
            pair(
                bars_or_nothing(f"{name}: answer types", f"{name}: answer types", types, "verified"),
                bars_or_nothing(f"{name}: what puzzles use", f"{name}: concepts", used, "outcome"),
            )
        )
    kinds = list(dict.fromkeys(kind for _, measured in found for kind in measured.answer_types))
    numbers = [[i.number, *(count(m.answer_types.get(kind, 0)) for kind in kinds)] for i, m in found]
    return section(
        "variety",
        "Variety",
        "Puzzles that passed the filter. Two puzzles share a shape if they differ only in names and constants, and a "
        "behaviour if they accept the same answers of a common list: a run that collapses shows here first.",
        element("div", table(head, body), class_="wide", tabindex=0),
        element("div", *panels, class_="panels"),
        fallback("Numbers", table(["iteration", *kinds], numbers)),
    )


def _variety_cells(measured: Diversity) -> list[str]:
    told = f"{count(measured.behaviours)} of {count(measured.told)} told" if measured.told else EN_DASH
    new = EN_DASH if measured.new_shapes is None else count(measured.new_shapes)
    distance = EN_DASH if measured.distance is None else f"{measured.distance:.2f}"
    counts = [measured.distinct, measured.shapes, measured.largest_shape]
    return [*map(count, counts), new, told, f"{measured.vendi:.1f}", distance]


def checkpoints(iterations: Sequence[Iteration]) -> Markup:
    """Every set of weights that wrote something on this page: its identity, what made it, what it started from."""
    rows: dict[str, list[object]] = {}
    for iteration in iterations:
        done = iteration.training
        if done is not None:
            # By the policy gradient, or by fine-tuning.
            kind = "judged attempt" if "objective" in done else "pair"
            what = (
                f"iteration {iteration.number}, {count(done['step'])} steps on {plural(done['pairs'], kind)}"
            )
            start = element("a", done["start"], href=f"#c-{done['start']}")
            rows[done["identity"]] = [what, start]
    for iteration in iterations:
        used = {puzzle.checkpoint for puzzle in iteration.solved}.union(
            *(p.solvers for p in iteration.solved)
        )
        starts = {iteration.training["start"]} if iteration.training else set()
        for identity in sorted(used | starts):
            if identity and identity not in rows:
                rows[identity] = ["the base, or a model from outside this run", ""]
    body = [
        element(
            "tr",
            element("th", element("code", identity), scope="row"),
            *(element("td", cell) for cell in cells),
            id=f"c-{identity}",
            tabindex=-1,
        )
        for identity, cells in rows.items()
    ]
    head = element("tr", *(element("th", word, scope="col") for word in ("weights", "made by", "from")))
    return section(
        "checkpoints",
        "Checkpoints",
        "Who wrote what: identities are digests of the weights and stand in every record.",
        element(
            "div",
            element("table", element("thead", head), element("tbody", *body)),
            class_="wide",
            tabindex=0,
        ),
    )


def table(head: Sequence[object], body: Sequence[Sequence[object]]) -> Markup:
    """A plain table. The first cell names the row; a row of one cell is a heading over the rows below it."""
    rows = []
    for first, *cells in body:
        if cells:
            rows.append(
                element("tr", element("th", first, scope="row"), *(element("td", cell) for cell in cells))
            )
        else:
            heading = element("th", first, scope="rowgroup", colspan=len(head))
            rows.append(element("tr", heading, class_="family"))
    return element(
        "table",
        element("thead", element("tr", *(element("th", cell, scope="col") for cell in head))),
        element("tbody", *rows),
    )


def fallback(summary: str, content: Markup) -> Markup:
    """The numbers behind a plot, folded away."""
    return element("details", element("summary", summary), element("div", content, class_="wide", tabindex=0))


def captioned(caption: str, content: Markup) -> Markup:
    return element("figure", element("figcaption", caption), content)


def bars_or_nothing(caption: str, title: str, bars: Sequence[Bar], style: str) -> Markup:
    """A panel of bars, or a line of text where all are zero."""
    if not any(bar.value for bar in bars):
        return element("p", f"{caption}: nothing.", class_="note")
    return captioned(caption, bar_panel(title, bars, style))


def pair(*panels: Markup | None) -> Markup:
    """Panels that belong together: side by side where the page has room, else stacked."""
    return element("div", *panels, class_="pair")


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
