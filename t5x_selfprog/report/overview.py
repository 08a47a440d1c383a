"""DIR/index.html: the runs in a folder side by side: what each is, how far it got and what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from t5x_selfprog import run_dir
from t5x_selfprog.report.collect import evaluations_of
from t5x_selfprog.report.findings import Findings, find
from t5x_selfprog.report.markup import EN_DASH, Markup, count, element, percent, plural
from t5x_selfprog.report.pieces import section, table
from t5x_selfprog.report.shell import Heading, render, script_json
from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError
from verifier.storage import files
from verifier.storage.shards import atomic_write


@dataclass(frozen=True)
class Entry:
    """One run in the folder; `found` is None where nothing has been evaluated."""

    name: str
    run: RunDir
    evaluations: list[dict[str, Any]]
    found: Findings | None
    broken: list[str]

    @property
    def is_finished(self) -> bool:
        return files.exists(files.join(self.run.root, run_dir.SUMMARY))


def runs_in(folder: str) -> list[str]:
    """Names of the runs directly in a folder."""
    return [name for name in sorted(files.listdir(folder)) if run_dir.is_run(files.join(folder, name))]


def build_overview(folder: str) -> str:
    """Writes the page; returns its path. Raises UserError where the folder contains no run."""
    names = runs_in(folder)
    if not names:
        raise UserError(f"{folder}: there is no run in it")
    entries = []
    for name in names:
        broken: list[str] = []
        run = RunDir(files.join(folder, name))
        evaluations = evaluations_of(run, broken)
        entries.append(Entry(name, run, evaluations, find(evaluations), broken))
    path = files.join(folder, "index.html")
    atomic_write(path, _page(folder, entries))
    return path


def _page(folder: str, entries: list[Entry]) -> str:
    name = PurePath(folder).name or folder
    finished = sum(entry.is_finished for entry in entries)
    heading = Heading(
        title=f"{name} · t5x_selfprog runs",
        name=name,
        setting=plural(len(entries), "run"),
        headline=f"{plural(len(entries), 'run')}, {count(finished)} finished.",
        subline="What each shows of its last iteration against its base; runs of other problems, attempts or "
        "models do not compare with one another.",
    )
    broken = [line for entry in entries for line in entry.broken]
    data = script_json({"runs": [_data(entry) for entry in entries]})
    return render(heading, [_table(entries), _about(folder)], data, broken)


def _table(entries: list[Entry]) -> Markup:
    ks = sorted({k for entry in entries if entry.found for k in entry.found.ks})
    ks = sorted({*ks[:1], *ks[-2:]})
    head = ["run", "", "model", "measured on", "iterations", *(f"Pass@{k}: base, last" for k in ks), "shown"]
    return section(
        "runs", "Runs", "", element("div", table(head, [_row(e, ks) for e in entries]), class_="wide", tabindex=0)
    )  # fmt: skip


def _row(entry: Entry, ks: list[int]) -> list[object]:
    linked: object = entry.name
    if files.exists(entry.run.report):
        linked = element("a", entry.name, href=f"{entry.name}/report/index.html")
    first = entry.evaluations[0] if entry.evaluations else None
    measured = (
        f"{first.get('seeds', '')} {first.get('split', '')}, {plural(len(first['problems']), 'problem')} "
        f"x {count(first['samples_per_problem'])}"
        if first
        else EN_DASH
    )
    rounds = entry.run.iterations()
    shares = [_shares(entry.found, k) for k in ks]
    state = "finished" if entry.is_finished else "not finished"
    model = run_dir.begun_with_base(entry.run) or "base"
    shown = element("span", _shown(entry.found), class_="said")
    return [linked, state, model, measured.strip(), count(len(rounds)), *shares, shown]


def _shares(found: Findings | None, k: int) -> str:
    if found is None:
        return EN_DASH
    return ", ".join(
        percent(row.estimates[k].estimate) if row is not None and k in row.estimates else EN_DASH
        for row in (found.base, found.verified)
    )


def _shown(found: Findings | None) -> str:
    return found.headline if found else "Nothing is measured yet."


def _about(folder: str) -> Markup:
    return section(
        "about",
        "About this page",
        "",
        element(
            "p",
            "Written from what the runs hold by ",
            element("code", f"selfprog report --run_dir={folder}"),
            "; a run without a link has no page yet (the same command with the run's folder). ",
            element("button", "Save the data as JSON", id="save", type="button"),
        ),
    )


def _data(entry: Entry) -> dict[str, Any]:
    found = entry.found
    return {
        "run": entry.name,
        "finished": entry.is_finished,
        "headline": _shown(found),
        "arms": [
            {"arm": row.label, "pass_at_k": {k: share.as_dict() for k, share in row.estimates.items()}}
            for row in (found.rows if found else [])
        ],
    }
