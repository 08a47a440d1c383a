"""RUN/report/index.html: one self-contained page about a run, finished or not."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from t5x_selfprog.report import sections
from t5x_selfprog.report.arms import results
from t5x_selfprog.report.collect import Run, collect
from t5x_selfprog.report.findings import Findings, find
from t5x_selfprog.report.gallery import gallery
from t5x_selfprog.report.markup import Markup, count, element, plural
from t5x_selfprog.report.pieces import section, table
from t5x_selfprog.report.problems import problems
from t5x_selfprog.report.rollouts import rollouts
from t5x_selfprog.report.shell import Heading, render, script_json
from t5x_selfprog.report.spent import spent
from t5x_selfprog.report.training import training
from t5x_selfprog.report.transfer import transfer
from t5x_selfprog.run_layout import RunDir
from verifier.storage.shards import atomic_write

MAX_DATA_BYTES = 1_500_000


def build_report(run_dir: str) -> str:
    """Writes the report of a run, finished or not; returns its path."""
    run = collect(run_dir)
    path = RunDir(run_dir).report
    atomic_write(path, page(run))
    return path


def page(run: Run) -> str:
    """The whole page as HTML."""
    found = find(run.evaluations)
    body = [
        results(found) if found else None,
        transfer(run.root, run.evaluations),
        problems(run.arms, run.sources),
        sections.funnel(run.iterations) if any(iteration.funnel for iteration in run.iterations) else None,
        sections.outcomes(run.iterations)
        if any(iteration.outcomes for iteration in run.iterations)
        else None,
        sections.difficulty(run.iterations)
        if any(iteration.attempts_of for iteration in run.iterations)
        else None,
        sections.variety(run.iterations, run.train)
        if any(iteration.kept for iteration in run.iterations)
        else None,
        spent(run.times, run.goodput) if run.times else None,
        rollouts(run.learnt),
        training(run.training),
        gallery(run.iterations, run.train) if any(iteration.solved for iteration in run.iterations) else None,
        sections.checkpoints(run.iterations)
        if any(iteration.solved for iteration in run.iterations)
        else None,
        _about(run),
    ]
    name = PurePath(run.root).name or run.root
    heading = Heading(
        title=f"{name} · t5x_selfprog",
        name=name,
        setting=_setting(run),
        headline=found.headline if found else "Nothing is measured yet.",
        subline=found.subline if found else "This run has no evaluation so far.",
    )
    return render(heading, body, _data(run, found), run.missing)


def _setting(run: Run) -> str:
    """What was measured on what, in one line."""
    if not run.evaluations:
        return plural(len(run.iterations), "iteration")
    sampled = next((e for e in run.evaluations if e.get("temperature")), run.evaluations[0])
    parts = [
        f"{sampled.get('seeds', '')} {sampled.get('split', '')}".strip(),
        plural(len(sampled["problems"]), "problem"),
        f"{count(sampled['samples_per_problem'])} attempts each",
    ]
    if sampled.get("temperature"):
        parts.append(f"T\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{sampled['temperature']:g}")
    return " · ".join([*filter(None, parts), plural(len(run.iterations), "iteration")])


def _about(run: Run) -> Markup:
    config = element(
        "details", element("summary", "Configuration"), element("pre", run.config, class_="code")
    )
    return section(
        "about",
        "About this page",
        "",
        element(
            "p",
            "Intervals come from a bootstrap over problems, with two imagined problems added so that a handful of "
            "solved problems cannot claim too much; claims at the largest k are the ones that count. Written from ",
            element("code", run.root),
            ". ",
            element("button", "Save the data as JSON", id="save", type="button"),
        ),
        element("ul", *(element("li", look) for look in _honesty(run))) if run.looks or run.clean else None,
        _made_by(run.provenance),
        config if run.config else None,
    )


def _made_by(provenance: dict[str, Any]) -> Markup | None:
    """What made the run: its first and its last process."""
    lives = provenance.get("lives") or []
    if not lives:
        return None
    first, last = lives[0], lives[-1]
    packages = ", ".join(f"{name} {version}" for name, version in last.get("versions", {}).items())
    rows = [
        ["Begun", first.get("begun", "")],
        ["Last gone on with", last.get("begun", "") if len(lives) > 1 else ""],
        ["Command", element("code", last.get("command", ""))],
        ["Code", last.get("commit", "")],
        ["Devices", last.get("devices", "")],
        ["Host", last.get("host", "")],
        ["Packages", packages],
    ]
    return element("div", table(["made by", ""], [row for row in rows if row[1]]), class_="wide", tabindex=0)


def _honesty(run: Run) -> list[str]:
    """What the numbers rest on: how often the held-out problems were looked at, and how many are clean."""
    said = list(run.looks)
    if run.clean:
        said.append(
            f"{run.clean['clean']} of {run.clean['problems']} held-out problems are clean: nothing that any arm "
            "trained on comes near them."
        )
    return said


def _data(run: Run, found: Findings | None) -> Markup:
    """What the plots show, for other programs; without problems where they would make the page too heavy."""
    data: dict[str, Any] = {
        "run": run.root,
        "headline": found.headline if found else None,
        "missing": run.missing,
        "evaluations": run.evaluations,
        "iterations": [
            {
                "iteration": iteration.number,
                "funnel": iteration.funnel,
                "outcomes": dict(iteration.outcomes.most_common()),
                "solved": len(iteration.solved),
            }
            for iteration in run.iterations
        ],
    }
    text = script_json(data)
    if len(text) > MAX_DATA_BYTES:
        slim = [{k: v for k, v in e.items() if k != "problems"} for e in run.evaluations]
        text = script_json(data | {"evaluations": slim, "left_out": "problems of each evaluation"})
    return text
