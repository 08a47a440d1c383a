"""Pass@k on held-out problems that resemble nothing the run trained on.

Stage 2's firewall keeps look-alikes out of what the model writes. The train problems in its prompts and in the `human`
arm pass no such firewall, nor do pairs from elsewhere. A held-out problem is clean if no training puzzle of any arm
matches it at any of `contamination`'s levels, a shared run of 13 tokens included.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from t5x_selfprog.data.sources import run_datasets, split_pair
from t5x_selfprog.evaluation.compare import Evaluation
from t5x_selfprog.evaluation.contrasts import ENUMERATOR, percent
from t5x_selfprog.evaluation.table import rows
from t5x_selfprog.puzzles.contamination import LEVELS, Protected
from t5x_selfprog.puzzles.p3 import Problem
from t5x_selfprog.puzzles.source import SourceError, body_tokens
from t5x_selfprog.run_layout import RunDir
from verifier.storage import files
from verifier.storage.shards import Ledger, is_finished


@dataclass(frozen=True)
class _Trained:
    """A training puzzle as `Protected` indexes problems."""

    instances: tuple[str]
    name: str = ""


def soiled(problems: Sequence[Problem], trained_on: Iterable[str]) -> dict[str, str]:
    """The held-out problems (by name) that some source in `trained_on` resembles, each with its strictest level."""
    index = Protected(_Trained((source,)) for source in sorted(trained_on) if _is_python(source))  # type: ignore[misc]
    found: dict[str, str] = {}
    for problem in problems:
        matches = [match for source in problem.instances if (match := index.match(source)) is not None]
        if matches:
            found[problem.name] = min((match.level for match in matches), key=LEVELS.index)
    return found


def _is_python(source: str) -> bool:
    try:
        body_tokens(source)
    except SourceError:
        return False
    return True


def puzzles_trained_on(run_root: str) -> set[str]:
    """Sources of all puzzles in all datasets of a run, controls included."""
    run = RunDir(run_root)
    ledgers = list(run_datasets(run_root).values())
    for arm in run.controls():
        path = run.control(arm, "dataset")
        if is_finished(path):
            ledgers.append(Ledger.open(path))
    sources = set()
    for ledger in ledgers:
        for pair in ledger:
            parts = split_pair(pair["text"])
            sources.add(parts[0] if parts else pair["text"])
    return sources


def restrict(evaluation: Evaluation, names: set[str]) -> dict[str, Any]:
    """An evaluation restricted to some of its problems (by name), for `compare` and `table`."""
    return {
        **evaluation,
        "problems": [problem for problem in evaluation["problems"] if problem["name"] in names],
    }


def note(content: dict[str, Any], evaluations: Sequence[Evaluation]) -> str:
    """One sentence for the table: Pass@k of each model on the clean problems alone."""
    dirty = set(content["soiled"])
    names = {problem["name"] for evaluation in evaluations for problem in evaluation["problems"]} - dirty
    said = (
        f"{content['clean']} of {content['problems']} problems are clean: no training puzzle comes near them"
    )
    if not names or not dirty:
        return f"{said}."
    found = [row for row in rows([restrict(e, names) for e in evaluations]) if row.arm != ENUMERATOR]
    k = max((k for row in found for k in row.estimates), default=0)
    parts = [
        f"{row.label} {percent(i.estimate)} [{percent(i.low)}–{percent(i.high)}]"
        for row in found
        if (i := row.estimates.get(k)) is not None
    ]
    return f"{said}. Pass@{k} there: {', '.join(parts)}."


def write(run_root: str, problems: Sequence[Problem]) -> dict[str, Any]:
    """Writes RUN/clean.json: how many evaluated problems are clean, and which are not."""
    dirty = soiled(problems, puzzles_trained_on(run_root))
    content = {
        "problems": len(problems),
        "clean": len(problems) - len(dirty),
        "soiled": dirty,
    }
    files.write_json(files.join(run_root, "clean.json"), content)
    return content
