"""The section on where the time went: by stage, and by kind of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from t5x_selfprog.report.markup import Markup, count, element, join, percent, plural
from t5x_selfprog.report.pieces import captioned, fallback, pair, section, table
from t5x_selfprog.report.plots import Bar, bar_panel
from t5x_selfprog.telemetry.clock import USEFUL

_PARTS = {
    "verdicts": "waiting for verdicts",
    "hosts": "waiting for hosts",
    "screen": "judging puzzles",
    "load": "loading",
    "save": "saving",
    "compile": "compiling",
    "heldout": "held-out loss",
    "lost": "lost to restarts",
    "host": "host alone",
}


def spent(times: Sequence[Mapping[str, Any]], goodput: Mapping[str, Any] | None = None) -> Markup:
    """Seconds by stage, in order of first work, and what they were spent on."""
    seconds: dict[str, float] = {}
    chip_hours = 0.0
    for entry in times:
        if "stage" in entry:
            seconds[entry["stage"]] = seconds.get(entry["stage"], 0.0) + entry["seconds"]
            chip_hours += entry["seconds"] * entry["devices"] / 3600
    total = sum(seconds.values()) or 1.0
    bars = [Bar(stage, s, _duration(s), percent(s / total, 0)) for stage, s in seconds.items()]
    devices = next((f"{e['devices']} {e['platform']}" for e in times if "stage" in e), "")
    return section(
        "time",
        "Time",
        f"{_duration(total)} on {devices} device(s), {chip_hours:.2f} device-hours, measured on the first host; "
        "compilation is in it, waiting between interrupted runs is not.",
        pair(
            captioned("Where it went", bar_panel("Time by stage", bars, "outcome")),
            _kinds(goodput) if goodput else None,
        ),
        fallback(
            "Numbers", table(["stage", "seconds"], [[stage, f"{s:.1f}"] for stage, s in seconds.items()])
        ),
        *(_goodput(goodput) if goodput else ()),
    )


def _kinds(found: Mapping[str, Any]) -> Markup:
    """The wall time by kind of work, in parts that sum to it."""
    wall = found["wall_s"] or 1.0
    bars = [
        Bar(_PARTS.get(part, part), s, _duration(s), percent(s / wall), "verified" if part in USEFUL else "")
        for part, s in found["parts"].items()
        if s
    ]
    return captioned("What it was", bar_panel("Time by kind of work", bars, "outcome"))


def _goodput(found: Mapping[str, Any]) -> list[Markup]:
    """Goodput as text, and how long the chips waited after each sampling stage."""
    waits = [
        [place, f"{wait['sampling_s']:.1f}", f"{wait['waited_s']:.1f}", percent(wait["idle_share"])]
        for place, wait in found["overlap"].items()
    ]
    programs = [
        [name, count(p["times"]), count(p["cached"]), f"{p['seconds']:.1f}"]
        for name, p in found["compilations"]["slowest"].items()
    ]
    lead = (
        f"Goodput: {percent(found['goodput'])} of the wall time went into useful device steps (training, prefill, "
        f"decoding); chips waited for verdicts {percent(found['waiting_for_verdicts'])} of it. "
        + (f"A kill undid {plural(found['lost_steps'], 'training step')}. " if found["lost_steps"] else "")
        + "Training runs ahead of its device, so work on batches hides in it."
    )
    return [
        element("p", lead),
        fallback(
            "Numbers, waiting for verdicts, compilations",
            join(
                [
                    table(
                        ["kind of work", "seconds"],
                        [[_PARTS.get(part, part), f"{s:.1f}"] for part, s in found["parts"].items()],
                    ),
                    table(["sampled", "seconds of sampling", "then of waiting", "share"], waits),
                    table(["program", "made ready", "of these from the cache", "seconds"], programs),
                ]
            ),
        ),
    ]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
