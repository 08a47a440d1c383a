"""RUN/report/versus-OTHER.html: two runs side by side, arm by arm, and the differences that intervals support."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePath

from t5x_selfprog.evaluation.compare import Comparison, compare
from t5x_selfprog.evaluation.contrasts import ENUMERATOR, Contrast, correct
from t5x_selfprog.evaluation.diversity import diversity
from t5x_selfprog.evaluation.statistics import NO_DIFFERENCE, NOT_AFTER_CORRECTION
from t5x_selfprog.evaluation.table import Row, rows
from t5x_selfprog.report.collect import Run, collect
from t5x_selfprog.report.markup import EN_DASH, Markup, count, element, percent, points
from t5x_selfprog.report.pieces import section, table
from t5x_selfprog.report.plots import IntervalRow, arm_style, interval_panel
from t5x_selfprog.report.shell import Heading, render, script_json
from verifier.storage import files
from verifier.storage.shards import atomic_write

Pair = tuple[Row, Row]


def build_versus(run_dir: str, other_dir: str) -> str:
    """Writes the page; returns its path."""
    path = _free_path(run_dir, other_dir)
    atomic_write(path, page(collect(run_dir), collect(other_dir)))
    return path


def _free_path(run_dir: str, other_dir: str) -> str:
    """Named after the other run's folder, and after those around it where that page compares another run."""
    parts = PurePath(files.absolute(other_dir)).parts[1:] or ("root",)
    for depth in range(1, len(parts) + 1):
        path = files.join(run_dir, "report", f"versus-{'-'.join(parts[-depth:])}.html")
        if not files.exists(path) or _marked(other_dir) in files.read_bytes(path).decode():
            break
    return path


def _marked(other_dir: str) -> str:
    """What a page says of the run that it compares with."""
    return str(script_json({"with": files.absolute(other_dir)}))[1:-1]


def page(left: Run, right: Run) -> str:
    pairs = _pairs(left, right)
    names = _names(left, right)
    compared = [(mine, theirs, _compare(mine, theirs)) for mine, theirs in pairs]
    claims = _claims(compared)
    body = [
        _results(compared, claims, names),
        _yield(left, right, names),
        _variety(left, right, names),
        _settings(left, right, names),
    ]
    headline, subline = _headline(compared, claims, names)
    data = {
        "left": left.root,
        "right": right.root,
        "with": files.absolute(right.root),
        "evaluations": {names[0]: len(left.evaluations), names[1]: len(right.evaluations)},
    }
    both = f"{names[0]} and {names[1]}"
    heading = Heading(f"{both} · t5x_selfprog", both, "", headline, subline)
    return render(heading, body, script_json(data))


def _name(root: str) -> str:
    return PurePath(os.path.normpath(root)).name


def _names(left: Run, right: Run) -> tuple[str, str]:
    """The folders' names, with the parent folder where they are equal."""
    names = [_name(run.root) for run in (left, right)]
    if names[0] == names[1]:
        names = ["/".join(PurePath(os.path.normpath(run.root)).parts[-2:]) for run in (left, right)]
    return names[0], names[1]


def _pairs(left: Run, right: Run) -> list[Pair]:
    """Arms that both runs have at the same iteration, in the order of the table."""
    theirs = {row.label: row for row in (rows(right.evaluations) if right.evaluations else [])}
    mine = rows(left.evaluations) if left.evaluations else []
    return [(row, theirs[row.label]) for row in mine if row.label in theirs]


def _compare(mine: Row, theirs: Row) -> dict[int, Comparison]:
    """By k; empty where the two were measured on different problems."""
    try:
        found = {k: compare(mine.evaluations, theirs.evaluations, k) for k in mine.estimates}
    except ValueError:
        return {}
    return {k: comparison for k, comparison in found.items() if comparison is not None}


def _claims(compared: Sequence[tuple[Row, Row, dict[int, Comparison]]]) -> dict[tuple[str, int], str]:
    """The claims about the left run's arms against the right's, corrected over the arms, for each k."""
    found = [
        Contrast("one run against another", mine.label, theirs.label, at, {}, {})
        for mine, theirs, at in compared
        if mine.arm != ENUMERATOR
    ]
    correct(found)
    return {(contrast.left, k): claim for contrast in found for k, claim in contrast.claims.items()}


def _headline(
    compared: Sequence[tuple[Row, Row, dict[int, Comparison]]],
    claims: dict[tuple[str, int], str],
    names: tuple[str, str],
) -> tuple[str, str]:
    last = next((item for item in reversed(compared) if item[0].arm == "verified" and item[2]), None)
    if last is None:
        return "Nothing to compare.", "The two runs share no arm that was measured on the same problems."
    k = max(last[2])
    difference, word = last[2][k].difference, claims[last[0].label, k]
    sentence = {
        NO_DIFFERENCE: f"No difference shown between {names[0]} and {names[1]} at Pass@{k}.",
        NOT_AFTER_CORRECTION: f"No difference between {names[0]} and {names[1]} at Pass@{k} is shown after "
        "correction for the number of arms.",
        "lower": f"{names[0]} is lower than {names[1]} at Pass@{k}.",
        "higher": f"{names[0]} is higher than {names[1]} at Pass@{k}.",
        "more than twice": f"{names[0]} is at more than twice {names[1]}’s Pass@{k}.",
    }[word]
    return sentence, (
        f"{last[0].label}: a difference of {points(difference.estimate)} percentage points (95% interval "
        f"{points(difference.low)} to {points(difference.high)}), paired by problem."
    )


def _results(
    compared: Sequence[tuple[Row, Row, dict[int, Comparison]]],
    claims: dict[tuple[str, int], str],
    names: tuple[str, str],
) -> Markup:
    panels, body = [], []
    for k in sorted({k for mine, *_ in compared for k in mine.estimates}):
        drawn = [
            IntervalRow(f"{row.label} {side}", arm_style(row.arm), row.estimates[k])
            for mine, theirs, _ in compared
            for side, row in (("A", mine), ("B", theirs))
            if k in row.estimates
        ]
        panels.append(
            element(
                "figure",
                element("figcaption", f"Pass@{k}"),
                interval_panel(f"Pass@{k} of both runs", drawn, []),
            )
        )
        for mine, theirs, at in compared:
            cells: list[object] = [_share(mine, k), _share(theirs, k)]
            difference = at[k].difference if k in at else None
            between = (
                f"{points(difference.estimate)} ({points(difference.low)} to {points(difference.high)})"
                if difference
                else EN_DASH
            )
            body.append([f"{mine.label}, Pass@{k}", *cells, between, claims.get((mine.label, k), "")])
    return section(
        "results",
        "Results",
        f"A is {names[0]}, B is {names[1]}. Differences are A − B, paired by problem; a word stands only where the "
        "interval excludes zero and the comparison survives Holm’s correction over the arms.",
        element("div", *panels, class_="panels"),
        element("div", table(["", names[0], names[1], "A − B", ""], body), class_="wide", tabindex=0),
    )


def _share(row: Row, k: int) -> str:
    if k not in row.estimates:
        return EN_DASH
    interval = row.estimates[k]
    return f"{percent(interval.estimate)} ({percent(interval.low)} to {percent(interval.high)})"


def _yield(left: Run, right: Run, names: tuple[str, str]) -> Markup | None:
    body = []
    for mine, theirs in zip(left.iterations, right.iterations, strict=False):
        counts = [
            {step["name"]: step["count"] for step in (i.funnel or {}).get("stages", [])}
            for i in (mine, theirs)
        ]
        for name in dict.fromkeys([*counts[0], *counts[1]]):
            cells = [count(side[name]) if name in side else EN_DASH for side in counts]
            body.append([f"iteration {mine.number}: {name.replace('_', ' ')}", *cells])
    head = ["", *names]
    content = element("div", table(head, body), class_="wide", tabindex=0)
    return section("yield", "Yield", "Puzzles that survive each step.", content) if body else None


def _variety(left: Run, right: Run, names: tuple[str, str]) -> Markup | None:
    body = []
    for mine, theirs in zip(left.iterations, right.iterations, strict=False):
        if mine.kept and theirs.kept:
            both = [diversity(i.kept, i.behaviours) for i in (mine, theirs)]
            body += [
                [f"iteration {mine.number}: syntax shapes", *(count(d.shapes) for d in both)],
                [f"iteration {mine.number}: in the largest shape", *(count(d.largest_shape) for d in both)],
                [f"iteration {mine.number}: behaviours told apart", *(count(d.behaviours) for d in both)],
                [f"iteration {mine.number}: effective number (Vendi)", *(f"{d.vendi:.1f}" for d in both)],
            ]
    content = element("div", table(["", *names], body), class_="wide", tabindex=0)
    return section("variety", "Variety", "Puzzles that passed the filter.", content) if body else None


def _settings(left: Run, right: Run, names: tuple[str, str]) -> Markup:
    """The bindings in which the two configurations differ, and a button that saves the data."""
    sides = [_bindings(run.config) for run in (left, right)]
    differing = [
        name for name in sorted(sides[0].keys() | sides[1].keys()) if sides[0].get(name) != sides[1].get(name)
    ]
    body = [[name, *(side.get(name, "not set") for side in sides)] for name in differing]
    content = (
        element("div", table(["", *names], body), class_="wide", tabindex=0)
        if body
        else "The configurations are alike."
    )
    save = element("p", element("button", "Save the data as JSON", id="save", type="button"))
    return section("about", "What was set differently", "", content, save)


def _bindings(config: str) -> dict[str, str]:
    """Lines `name = value` of a saved configuration; of a value over several lines, the first."""
    found = {}
    for line in config.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith(("#", " ")):
            found[name.strip()] = value.strip()
    return found
