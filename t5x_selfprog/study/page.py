"""STUDY/report/index.html: the arms of every configuration side by side, the transfer matrix, the fits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from t5x_selfprog.evaluation.contrasts import ENUMERATOR, EXPLANATION, HEAD
from t5x_selfprog.evaluation.statistics import NO_DIFFERENCE, NOTHING_SHOWN
from t5x_selfprog.evaluation.table import family_sizes
from t5x_selfprog.report.markup import Markup, element, percent, plural, points
from t5x_selfprog.report.pieces import fallback, section, table
from t5x_selfprog.report.plots import IntervalRow, Point, arm_style, interval_panel, scatter_panel
from t5x_selfprog.report.shell import Heading, render, script_json
from verifier.storage.shards import atomic_write

if TYPE_CHECKING:
    from t5x_selfprog.study.results import Line, Study


def build_page(study_dir: str, study: Study) -> str:
    """Writes the page; returns its path."""
    path = os.path.join(study_dir, "report", "index.html")
    atomic_write(path, page(study_dir, study))
    return path


def page(study_dir: str, study: Study) -> str:
    body = [
        _results(study),
        _versus(study) if study.contrasts else None,
        _transfer(study) if study.transfer else None,
        _fits(study) if study.fits else None,
        _runs(study_dir, study),
    ]
    name = PurePath(study_dir).name or study_dir
    claimed = [
        line for line in study.lines if line.row.claims.get(study.k, NO_DIFFERENCE) not in NOTHING_SHOWN
    ]
    claimed = [line for line in claimed if line.row.arm not in ("base", ENUMERATOR)]
    compared = [line for line in study.lines if line.adjusted]
    first = study.lines[0].row.evaluations[0]
    setting = [
        f"{first.get('seeds', '')} {first.get('split', '')}".strip(),
        plural(len(first["problems"]), "problem"),
    ]
    setting.append(plural(len({run for line in study.lines for run in line.runs}), "run"))
    heading = Heading(
        title=f"{name} · t5x_selfprog study",
        name=name,
        setting=" · ".join(filter(None, setting)),
        headline=_headline(len(claimed), len(compared), study.k),
        subline="; ".join(map(_claim, claimed[:6])) + "." if claimed else _nothing(study),
    )
    missing = [f"{run} is not finished" for run in study.missing]
    return render(heading, body, script_json(_data(study)), missing)


def _headline(claimed: int, compared: int, k: int) -> str:
    if not compared:
        return "Nothing to compare yet."
    some = (
        f"{claimed} of {plural(compared, 'comparison')}"
        if claimed
        else f"None of {plural(compared, 'comparison')}"
    )
    return f"{some} with the base show{'' if claimed > 1 else 's'} a difference at Pass@{k}."


def _claim(line: Line) -> str:
    where = " ".join(line.levels.values())
    k = max(line.row.estimates)
    return f"{where} {line.row.label}: {line.row.claims[k]} ({points(line.row.versus_base[k].difference.estimate)})"


def _nothing(study: Study) -> str:
    said = "Every interval there includes zero, or does not survive the correction for the number of comparisons."
    trained = [line for line in study.lines if line.row.arm not in ("base", ENUMERATOR)]
    for k in sorted({k for line in trained for k in line.row.claims} - {study.k}):
        found = sum(line.row.claims.get(k, NO_DIFFERENCE) not in NOTHING_SHOWN for line in trained)
        said += f" At Pass@{k}, {found or 'none'} of them show{'s' if found == 1 else ''} one."
    return said


def _results(study: Study) -> Markup:
    parts: list[object] = []
    configs: dict[tuple[tuple[str, str], ...], list[Line]] = {}
    for line in study.lines:
        configs.setdefault(tuple(line.levels.items()), []).append(line)
    ks = sorted({k for line in study.lines for k in line.row.estimates})
    for levels, lines in configs.items():
        parts.append(element("h3", ", ".join(f"{axis} {label}" for axis, label in levels) or "all runs"))
        panels = []
        for k in ks:
            drawn = [
                IntervalRow(x.row.label, arm_style(x.row.arm), x.row.estimates[k])
                for x in lines
                if k in x.row.estimates
            ]
            lines_at = [
                (x.row.arm, x.row.estimates[k].estimate)
                for x in lines
                if x.row.arm in ("base", ENUMERATOR) and k in x.row.estimates
            ]
            panel = interval_panel(f"Pass@{k} of each arm with 95% intervals", drawn, lines_at)
            panels.append(element("figure", element("figcaption", f"Pass@{k}"), panel))
        parts.append(element("div", *panels, class_="panels"))
    return section(
        "results",
        "Results",
        "Pass@k of every arm, seeds pooled; whiskers are 95% intervals over problems and seeds, dotted and dashed "
        "lines the base and the enumerator of the same configuration. Words are corrected over all comparisons.",
        *parts,
        fallback("Numbers", _numbers(study, ks)),
    )


def _numbers(study: Study, ks: Sequence[int]) -> Markup:
    axes, k = list(study.lines[0].levels), study.k
    head = [*axes, "arm", *(f"Pass@{k}" for k in ks), "solved", "claim"]
    body = []
    for line in study.lines:
        row = line.row
        shares = [row.estimates.get(k) for k in ks]
        between = [
            f"{percent(i.estimate)} ({percent(i.low)} to {percent(i.high)})" if i else "" for i in shares
        ]
        said = "no model" if row.arm == ENUMERATOR else row.claims.get(k, "")
        body.append([*line.levels.values(), row.label, *between, row.solved("all"), said])
    return table(head, body)


def _versus(study: Study) -> Markup:
    axes = list(study.lines[0].levels)
    body = [
        [*levels.values(), contrast.name, *contrast.cells(study.k)] for levels, contrast in study.contrasts
    ]
    return section(
        "versus",
        "One against another",
        f"Pass@{study.k}. {EXPLANATION} {family_sizes([contrast for _, contrast in study.contrasts])}",
        element("div", table([*axes, *HEAD], body), class_="wide", tabindex=0),
    )


def _transfer(study: Study) -> Markup:
    from t5x_selfprog.study.results import transfer_matrix

    head, *body = transfer_matrix(study)
    lead = f"Pass@{study.k} in per cent: rows wrote the pairs, columns learned them."
    return section(
        "transfer", "Who teaches whom", lead, element("div", table(head, body), class_="wide", tabindex=0)
    )


def _fits(study: Study) -> Markup:
    panels, body = [], []
    for fit in study.fits:
        fixed = ", ".join(f"{axis} {label}" for axis, label in fit["fixed"].items())
        what = f"{fit['arm']}, Pass@{fit['k']} by {fit['size'].replace('_', ' ')}"
        law = fit["law"]
        said = fit["why"] if law is None else _law(law)
        body.append([what, fixed, said])
        if fit["k"] == study.k or law is not None:
            drawn = [Point(x, y, arm_style(fit["arm"])) for x, y in fit["points"]]
            panel = scatter_panel(what, drawn, _curve(law, fit["points"]), fit["size"].replace("_", " "))
            panels.append(
                element("figure", element("figcaption", what), panel, element("p", said, class_="note"))
            )
    return section(
        "fits",
        "Scaling",
        "Saturating power laws with bootstrap intervals. Where the data does not carry one, none is drawn.",
        element("div", *panels, class_="panels"),
        fallback("Numbers", table(["curve", "fixed", "law"], body)),
    )


def _law(law: dict[str, Any]) -> str:
    exponent, limit = law["exponent"], law["limit"]
    end = f"limit {percent(limit['estimate'])}" if limit else "no limit in sight"
    return f"exponent {exponent['estimate']:.2f} ({exponent['low']:.2f} to {exponent['high']:.2f}), {end}"


def _curve(law: dict[str, Any] | None, observed: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Points of the law within the data, never beyond."""
    if law is None:
        return []
    low, high = min(x for x, _ in observed), max(x for x, _ in observed)
    xs = [low * (high / low) ** (i / 40) for i in range(41)]
    exponent = law["exponent"]["estimate"]
    return [(x, 1 - law["floor"] - law["scale"] * (x / law["largest"]) ** -exponent) for x in xs]


def _runs(study_dir: str, study: Study) -> Markup:
    """The runs by name, with links to existing pages."""
    names = sorted({run for line in study.lines for run in line.runs})

    def shown(name: str) -> object:
        page = os.path.join("runs", name, "report", "index.html")
        return (
            element("a", name, href=f"../{page}") if os.path.exists(os.path.join(study_dir, page)) else name
        )

    links = [element("li", shown(name)) for name in names]
    return section(
        "about",
        "The runs",
        " ".join(study.looks),
        element("ul", *links),
        element("p", element("button", "Save the data as JSON", id="save", type="button")),
    )


def _data(study: Study) -> dict[str, Any]:
    return {
        "k": study.k,
        "lines": [
            {
                "levels": line.levels,
                "arm": line.row.arm,
                "iteration": line.iteration,
                "seeds": len(line.row.evaluations),
                "pass_at_k": {k: interval.as_dict() for k, interval in line.row.estimates.items()},
                "versus_base": {k: versus.as_dict() for k, versus in line.row.versus_base.items()},
                "p_holm": line.adjusted,
                "claims": line.row.claims,
                "sizes": line.sizes,
            }
            for line in study.lines
        ],
        "contrasts": [{"levels": levels, **contrast.as_dict()} for levels, contrast in study.contrasts],
        "fits": study.fits,
        "missing": study.missing,
    }
