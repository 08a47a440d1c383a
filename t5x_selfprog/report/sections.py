"""Sections of a run's page, each from collected data to HTML: yield, outcomes, difficulty, variety, checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from t5x_selfprog.evaluation.diversity import Diversity, diversity, solve_rate_histogram
from t5x_selfprog.report.collect import Iteration, SourceProblem
from t5x_selfprog.report.markup import EN_DASH, Markup, count, element, percent, plural
from t5x_selfprog.report.pieces import bars_or_nothing, captioned, fallback, pair, section, table
from t5x_selfprog.report.plots import Bar, column_panel

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
