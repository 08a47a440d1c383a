"""The section on published suites, where the run was evaluated on some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from t5x_selfprog.evaluation.suite_notes import base_tests_notes, overlap_note
from t5x_selfprog.evaluation.table import P3_PARTS, rows, share
from t5x_selfprog.report.markup import Markup, element, join
from t5x_selfprog.report.pieces import section, table
from verifier.storage import files

FOLDER = "suites"  # RUN/suites/<suite>/<settings>/<arm>/evaluation.json


def transfer(root: str, evaluations: Sequence[Mapping[str, Any]]) -> Markup | None:
    """A table for each suite and setting; None where there are none. `evaluations` are of the run's own problems."""
    parts = [_suite(found, evaluations) for found in _measured(root)]
    if not parts:
        return None
    return section(
        "transfer",
        "Transfer",
        "Programs judged by unit tests that others measure by, none of which the run trained on. A task counts as "
        "solved by a program that passes all of its tests; intervals are 95%, over tasks.",
        join(parts),
    )


def _measured(root: str) -> Iterator[list[dict[str, Any]]]:
    """The evaluations of every suite at every setting."""
    folder = files.join(root, FOLDER)
    for suite in files.listdir(folder):
        for settings in files.listdir(files.join(folder, suite)):
            arms = files.join(folder, suite, settings)
            paths = [files.join(arms, arm, "evaluation.json") for arm in files.listdir(arms)]
            found = [files.read_json(path) for path in paths if files.exists(path)]
            if found:
                yield found


def _suite(found: Sequence[Mapping[str, Any]], evaluations: Sequence[Mapping[str, Any]]) -> Markup:
    first, shown = found[0], rows(found)
    ks = sorted({k for row in shown for k in row.estimates})
    head = ["model", *(f"Pass@{k}" for k in ks), "solved"]
    body = [
        [row.label, *(share(row.estimates[k]) if k in row.estimates else "" for k in ks), row.solved("all")]
        for row in shown
    ]
    own = evaluations[0]["problems"] if evaluations else []
    shared = sum(problem["group"] == P3_PARTS[0] for problem in own)
    notes = [*base_tests_notes(found), *overlap_note(first["suite"], shared, len(own))]
    return join(
        [
            element("h3", _title(first)),
            element("div", table(head, body), class_="wide", tabindex=0),
            *(element("p", note) for note in notes),
        ]
    )


def _title(first: Mapping[str, Any]) -> str:
    way = {"begun": ", in conversation, answers begun", "free": ", in conversation"}.get(
        first.get("chat", ""), ""
    )
    return f"{first['suite']}, {first['samples_per_problem']} a task, T = {first['temperature']:g}{way}"
