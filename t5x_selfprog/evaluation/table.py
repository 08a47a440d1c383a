"""The results table, for the screen and as Markdown: every arm against the base, worded by the intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from t5x_selfprog.evaluation.compare import ALL, Comparison, Evaluation, compare, estimate
from t5x_selfprog.evaluation.statistics import NOTHING_SHOWN, Interval, corrected, holm

ARM_ORDER = ("base", "verified", "unverified", "human", "seeds_only")
ENUMERATOR = "enumerator"
WIDTH = 118  # columns of the notes
P3_PARTS = (
    "human_eval",
    "rest",
)  # 150 of P3's 228 test problems come from HumanEval, none of its 155 train problems


@dataclass(frozen=True)
class Row:
    """One arm at one iteration: all its evaluations (one, or one a training seed) and what they say."""

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

    Claims are corrected for the number of arms compared with the base (Holm, for each k by itself): an arm
    whose corrected p-value is 0.05 or more gets 'not shown after correction' whatever its own interval says.
    """
    seeds_of: dict[tuple[str, int | None], list[Evaluation]] = {}
    for evaluation in sorted(evaluations, key=_order):
        seeds_of.setdefault((evaluation["arm"], evaluation.get("iteration")), []).append(evaluation)
    base = next((found for (arm, _), found in seeds_of.items() if arm == "base"), None)
    ks = sorted({int(k) for evaluation in evaluations for k in evaluation["pass_at_k"].get(group, {})})
    found_rows = []
    for (arm, _), found in seeds_of.items():
        estimates = {k: interval for k in ks if (interval := estimate(found, k, group, seed)) is not None}
        versus: dict[int, Comparison] = {}
        if base is not None and arm != "base" and _ids(found) == _ids(base):
            versus = {k: c for k in ks if (c := compare(found, base, k, group, seed)) is not None}
        claims = {k: comparison.claim for k, comparison in versus.items()}
        found_rows.append(Row(label(found), found, estimates, versus, claims, {}))
    for k in ks:
        _correct([row for row in found_rows if row.arm != ENUMERATOR and k in row.versus_base], k)
    return found_rows


def label(evaluations: Sequence[Evaluation]) -> str:
    """ "base", "verified 1", and "human x3" for three seeds of it."""
    iteration = evaluations[0].get("iteration")
    text = f"{evaluations[0]['arm']}" + ("" if iteration is None else f" {iteration}")
    return text if len(evaluations) == 1 else f"{text} x{len(evaluations)}"


def groups_shown(evaluations: Sequence[Evaluation]) -> tuple[str, ...]:
    """All problems together, and P3's two parts where they are P3's."""
    measured = evaluations[0]["pass_at_k"]
    return (ALL, *P3_PARTS) if set(P3_PARTS) <= set(measured) else (ALL,)


def table(evaluations: Sequence[Evaluation], group: str = ALL, notes: Sequence[str] = ()) -> str:
    """Plain text, at most 120 columns: Pass@k in per cent with 95% intervals, solved, against the base.

    `notes` are added to its own.
    """
    found, ks = rows(evaluations, group), _ks(evaluations, group)
    grid = _grid(found, ks, group)
    widths = [max(len(line[i]) for line in grid) for i in range(len(grid[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in grid]
    rule = "-" * max(len(line.rstrip()) for line in lines)
    body = [line.rstrip() for line in [lines[0], rule, *lines[1:]]]
    said = [line for note in [*_notes(found, ks, group), *notes] for line in textwrap.wrap(note, WIDTH)]
    return "\n".join([_title(found, group), "", *body, "", *said]) + "\n"


def markdown_table(evaluations: Sequence[Evaluation], group: str = ALL, notes: Sequence[str] = ()) -> str:
    """The same as a Markdown table."""
    found, ks = rows(evaluations, group), _ks(evaluations, group)
    head, *body = _grid(found, ks, group)
    lines = [head, ["---"] * len(head), *body]
    grid = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return (
        f"{_title(found, group)}\n\n{grid}\n\n"
        + "\n".join(f"{note}  " for note in [*_notes(found, ks, group), *notes])
        + "\n"
    )


def percent(share: float, sign: str = "") -> str:
    """0.1234 as "12.3", and as "+12.3" with sign="+"; never "-0.0"."""
    return f"{round(100 * share, 1) + 0.0:{sign}.1f}"


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
    """The largest k that models were measured at: the enumerator's list may be longer than their attempts."""
    models = [row for row in found if row.arm != ENUMERATOR] or found
    return max((k for row in models for k in row.estimates), default=1)


def _correct(compared: Sequence[Row], k: int) -> None:
    adjusted = holm({str(i): row.versus_base[k].p_value for i, row in enumerate(compared)})
    for i, row in enumerate(compared):
        row.adjusted[k] = adjusted[str(i)]
        row.claims[k] = corrected(row.versus_base[k].claim, row.adjusted[k])


def _grid(found: Sequence[Row], ks: Sequence[int], group: str) -> list[list[str]]:
    """Head and body as cells. The difference column is for the headline's k."""
    headline = headline_k(found)
    head = ["arm", *(f"Pass@{k}" for k in ks), "solved"]
    compared = any(row.versus_base for row in found)
    if compared:
        head += [f"Pass@{headline} - base", "claim"]
    lines = [head]
    for row in found:
        cells = [_share(row.estimates[k]) if k in row.estimates else "-" for k in ks]
        line = [row.label, *cells, row.solved(group)]
        if compared:
            comparison = row.versus_base.get(headline)
            said = row.claims.get(headline, "") if row.arm != ENUMERATOR else "(no model)"
            line += [_difference(comparison.difference) if comparison else "", said]
        lines.append(line)
    return lines


def _share(interval: Interval) -> str:
    return f"{percent(interval.estimate)} [{percent(interval.low)}–{percent(interval.high)}]"


def _difference(interval: Interval) -> str:
    low, high = percent(interval.low, "+"), percent(interval.high, "+")
    return f"{percent(interval.estimate, '+')} [{low}, {high}]"


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
    parts.append("Pass@k in %, 95% intervals over problems")
    name = ", ".join(str(first[key]) for key in ("seeds", "split") if first.get(key))
    return (f"{name}: " if name else "") + "; ".join(parts)


def _notes(found: Sequence[Row], ks: Sequence[int], group: str) -> list[str]:
    notes = []
    trained = [row for row in found if row.arm not in ("base", ENUMERATOR) and row.versus_base]
    if trained:
        notes.append(
            "Differences are paired by problem, in percentage points; the words follow their intervals"
            + (f", Holm-corrected over {len(trained)} arms." if len(trained) > 1 else ".")
        )
    headline = headline_k(found)
    for k in ks:
        if k == headline:
            continue
        said = [
            f"{row.label} {row.claims[k]} ({_difference(row.versus_base[k].difference)})"
            for row in trained
            if row.claims.get(k, NOTHING_SHOWN[0]) not in NOTHING_SHOWN
        ]
        if said:
            notes.append(f"Pass@{k}, against the base: {'; '.join(said)}.")
    notes += _against_enumerator(found, headline, group)
    if strangers := [row.label for row in found if _ids(row.evaluations) != _ids(found[0].evaluations)]:
        notes.append(f"Not comparable, evaluated on other problems: {', '.join(strangers)}.")
    return notes


def _against_enumerator(found: Sequence[Row], k: int, group: str) -> list[str]:
    """How the base and the last verified model stand to the list of guesses that needs no model."""
    lines = {row.arm: row for row in found}
    enumerator = lines.get(ENUMERATOR)
    if enumerator is None:
        return []
    said = []
    for row in (lines.get("base"), lines.get("verified")):
        if row is not None and _ids(row.evaluations) == _ids(enumerator.evaluations):
            comparison = compare(row.evaluations, enumerator.evaluations, k, group)
            if comparison is not None:
                word = {"improves": "above", "more than doubles": "above", "worsens": "below"}
                said.append(
                    f"{row.label} {word.get(comparison.claim, 'not told apart')} "
                    f"({_difference(comparison.difference)})"
                )
    return [f"Pass@{k}, against the enumerator's guesses: {'; '.join(said)}."] if said else []
