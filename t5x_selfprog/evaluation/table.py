"""The results table, for the screen and as Markdown: every arm against the base, worded by the intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from t5x_selfprog.evaluation import contrasts
from t5x_selfprog.evaluation.compare import (
    ALL,
    ENUMERATOR,
    Comparison,
    Evaluation,
    compare,
    estimate,
    models_of,
    seeds_spread,
)
from t5x_selfprog.evaluation.contrasts import AGAINST_BASE, Contrast, in_points, percent
from t5x_selfprog.evaluation.crossed import Spread
from t5x_selfprog.evaluation.statistics import NOTHING_SHOWN
from t5x_selfprog.interval import Interval

ARM_ORDER = ("base", "verified", "unverified", "human", "seeds_only")
WIDTH = 118  # columns of the notes
# 150 of P3's 228 test problems come from HumanEval, none of its 155 train problems.
P3_PARTS = ("human_eval", "rest")


@dataclass(frozen=True)
class Row:
    """One arm at one iteration: its evaluations (one per training seed) and what they show."""

    label: str
    evaluations: Sequence[Evaluation]
    estimates: dict[int, Interval]
    versus_base: dict[int, Comparison]
    claims: dict[int, str]
    adjusted: dict[int, float]

    @property
    def arm(self) -> str:
        return str(self.evaluations[0]["arm"])

    def solved(self, group: str) -> str:
        """How many problems at least one attempt solved, averaged over seeds."""
        counts, sizes = [], []
        for evaluation in self.evaluations:
            problems = [p for p in evaluation["problems"] if group in (ALL, p["group"])]
            counts.append(sum(p["c"] > 0 for p in problems))
            sizes.append(len(problems))
        return f"{sum(counts) / len(counts):.3g}/{sizes[0]}"


def rows(evaluations: Sequence[Evaluation], group: str = ALL, seed: int = 0) -> list[Row]:
    """The rows in their order: base, arms by iteration, enumerator.

    Claims are corrected for the number of arms compared with the base (Holm, for each k separately): an arm whose
    corrected p-value is 0.05 or more gets 'not shown after correction' whatever its own interval says.
    """
    seeds_of: dict[tuple[str, int | None], list[Evaluation]] = {}
    for evaluation in sorted(evaluations, key=_order):
        seeds_of.setdefault((evaluation["arm"], evaluation.get("iteration")), []).append(evaluation)
    base = next((found for (arm, _), found in seeds_of.items() if arm == "base"), None)
    ks = sorted({int(k) for evaluation in evaluations for k in evaluation["pass_at_k"].get(group, {})})
    last = {arm: found for (arm, _), found in seeds_of.items()}  # the last iteration of each arm stays
    spreads = {k: seeds_spread(last.values(), k, group) for k in ks}
    found_rows = []
    for (arm, _), found in seeds_of.items():
        estimates = {
            k: interval for k in ks if (interval := estimate(found, k, group, seed, spreads[k])) is not None
        }
        versus: dict[int, Comparison] = {}
        if base is not None and arm != "base" and _ids(found) == _ids(base):
            versus = {k: c for k in ks if (c := compare(found, base, k, group, seed, spreads[k])) is not None}
        claims = {k: comparison.claim for k, comparison in versus.items()}
        found_rows.append(Row(label(found), found, estimates, versus, claims, {}))
    contrasts.correct(against_base(found_rows))
    return found_rows


def spread(found: Sequence[Row], k: int, group: str = ALL) -> Spread:
    """How much training varies, from the last iteration of each arm of a table."""
    return seeds_spread({row.arm: row.evaluations for row in found}.values(), k, group)


def label(evaluations: Sequence[Evaluation]) -> str:
    """ "base", "verified 1", and "human x3" for three seeds of it."""
    iteration = evaluations[0].get("iteration")
    text = f"{evaluations[0]['arm']}" + ("" if iteration is None else f" {iteration}")
    return text if len(evaluations) == 1 else f"{text} x{len(evaluations)}"


def groups_shown(evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
    """All problems together, and P3's two parts where the problems are P3's."""
    measured = evaluations[0]["pass_at_k"]
    return (ALL, *P3_PARTS) if set(P3_PARTS) <= set(measured) else (ALL,)


def table(evaluations: Sequence[Evaluation], group: str = ALL, notes: Sequence[str] = ()) -> str:
    """Plain text, at most 120 columns: Pass@k in per cent with 95% intervals, solved, against the base.

    `notes` are added to its own.
    """
    found, ks = rows(evaluations, group), _ks(evaluations, group)
    body = _aligned(_grid(found, ks, group))
    if compared := comparisons(found, group):
        body += [
            "",
            f"Pass@{headline_k(found)}, one against another:",
            "",
            *_aligned(_versus(found, compared)),
        ]
    said = [line for note in [*_notes(found, ks, compared), *notes] for line in textwrap.wrap(note, WIDTH)]
    return "\n".join([_title(found, group), "", *body, "", *said]) + "\n"


def _aligned(grid: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in grid]
    rule = "-" * max(len(line.rstrip()) for line in lines)
    return [line.rstrip() for line in [lines[0], rule, *lines[1:]]]


def markdown_table(evaluations: Sequence[Evaluation], group: str = ALL, notes: Sequence[str] = ()) -> str:
    """The same as Markdown tables."""
    found, ks = rows(evaluations, group), _ks(evaluations, group)
    compared = comparisons(found, group)
    parts = [_title(found, group), markdown_grid(_grid(found, ks, group))]
    if compared:
        parts += [f"Pass@{headline_k(found)}, one against another:", markdown_grid(_versus(found, compared))]
    said = "\n".join(f"{note}  " for note in [*_notes(found, ks, compared), *notes])
    return "\n\n".join([*parts, said]) + "\n"


def markdown_grid(grid: Sequence[Sequence[str]]) -> str:
    head, *body = grid
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def comparisons(found: Sequence[Row], group: str = ALL, seed: int = 0) -> list[Contrast]:
    """Every arm against the base (corrected by `rows`), then the families of `contrasts`, corrected here."""
    models = [row for row in found if row.arm != ENUMERATOR] or list(found)
    last = {row.arm: (row.label, row.evaluations) for row in found}  # the last iteration of each arm stays
    of_arms = contrasts.of_arms(last, sorted({k for row in models for k in row.estimates}), group, seed)
    contrasts.correct(of_arms)
    return against_base(found) + of_arms


def against_base(found: Sequence[Row]) -> list[Contrast]:
    """The trained arms against the base, as contrasts that share the rows' claims and corrected p-values."""
    return [
        Contrast(AGAINST_BASE, row.label, "base", row.versus_base, row.claims, row.adjusted)
        for row in found
        if row.versus_base and row.arm != ENUMERATOR
    ]


def _order(evaluation: Evaluation) -> tuple[int, str, int, str]:
    arm = str(evaluation["arm"])
    place = ARM_ORDER.index(arm) if arm in ARM_ORDER else len(ARM_ORDER) + (arm == ENUMERATOR)
    iteration = evaluation.get("iteration")
    return (place, arm, -1 if iteration is None else iteration, str(evaluation.get("checkpoint", "")))


def _ids(evaluations: Sequence[Evaluation]) -> set[str]:
    return {problem["puzzle_id"] for evaluation in evaluations for problem in evaluation["problems"]}


def _ks(evaluations: Sequence[Evaluation], group: str) -> list[int]:
    return sorted({int(k) for evaluation in evaluations for k in evaluation["pass_at_k"].get(group, {})})


def headline_k(found: Sequence[Row]) -> int:
    """The largest k at which models were measured: the enumerator's list may be longer than their attempts."""
    models = [row for row in found if row.arm != ENUMERATOR] or found
    return max((k for row in models for k in row.estimates), default=1)


def _grid(found: Sequence[Row], ks: Sequence[int], group: str) -> list[list[str]]:
    """Head and body as cells. Claims are for the headline k, against the base."""
    headline = headline_k(found)
    compared = any(row.versus_base for row in found)
    lines = [["arm", *(f"Pass@{k}" for k in ks), "solved", *(["claim"] if compared else [])]]
    for row in found:
        cells = [share(row.estimates[k]) if k in row.estimates else "-" for k in ks]
        line = [row.label, *cells, row.solved(group)]
        if compared:
            line.append(row.claims.get(headline, "") if row.arm != ENUMERATOR else "(no model)")
        lines.append(line)
    return lines


def _versus(found: Sequence[Row], compared: Sequence[Contrast]) -> list[list[str]]:
    k = headline_k(found)
    return [list(contrasts.HEAD), *([contrast.name, *contrast.cells(k)] for contrast in compared)]


def share(interval: Interval) -> str:
    return f"{percent(interval.estimate)} [{percent(interval.low)}–{percent(interval.high)}]"


def _title(found: Sequence[Row], group: str) -> str:
    first = found[0].evaluations[0]
    problems = found[0].solved(group).split("/")[1]
    sampled = [e for row in found if row.arm != ENUMERATOR for e in row.evaluations]
    attempts = sorted({e["samples_per_problem"] for e in sampled})
    temperatures = sorted({e["temperature"] for e in sampled if e.get("temperature") is not None})
    parts = [f"{problems} problems" + (f" ({group})" if group != ALL else "")]
    if attempts:
        parts.append(f"{' or '.join(map(str, attempts))} attempts each")
    if temperatures:
        parts.append(f"T = {' or '.join(map(str, temperatures))}")
    several = any(models_of(row.evaluations) > 1 for row in found)
    parts.append("Pass@k in %, 95% intervals over problems" + (" and seeds" if several else ""))
    name = ", ".join(str(first[key]) for key in ("seeds", "split") if first.get(key))
    return (f"{name}: " if name else "") + "; ".join(parts)


def _notes(found: Sequence[Row], ks: Sequence[int], compared: Sequence[Contrast]) -> list[str]:
    notes = []
    if compared:
        notes.append(f"{contrasts.EXPLANATION} {family_sizes(compared)}")
        notes += contrasts.about_seeds([models_of(row.evaluations) for row in found])
    headline = headline_k(found)
    for k in ks:
        said = [
            f"{contrast.name} {contrast.claims[k]} ({in_points(contrast.at[k].difference)})"
            for contrast in compared
            if k != headline and contrast.claims.get(k, NOTHING_SHOWN[0]) not in NOTHING_SHOWN
        ]
        if said:
            notes.append(f"Pass@{k}: {'; '.join(said)}.")
    if strangers := [row.label for row in found if _ids(row.evaluations) != _ids(found[0].evaluations)]:
        notes.append(f"Not comparable, evaluated on other problems: {', '.join(strangers)}.")
    return notes


def family_sizes(compared: Sequence[Contrast]) -> str:
    """How many comparisons were corrected together."""
    sizes = {c.family: sum(other.family == c.family for other in compared) for c in compared}
    said = ", ".join(f"{family} ({size})" for family, size in sizes.items())
    return f"Each family is Holm-corrected by itself: {said}."
