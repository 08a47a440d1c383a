"""Whether a study could show what it looks for: estimated before its first run with `evaluation.power`.

The question is a doubling of the base's Pass@k. The base's value is from a finished run of the study, else a guess.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from t5x_selfprog.evaluation.power import Design, power
from t5x_selfprog.puzzles.p3 import in_split, load_problems
from t5x_selfprog.run_layout import RunDir
from t5x_selfprog.study.grid import Cell
from verifier.errors import UserError

if TYPE_CHECKING:
    from t5x_selfprog.study.launch import Configured

GUESSED_BASE = 0.08  # Pass@k of small models on P3 without training: results/p3_base, results/gpu
ENOUGH = 0.5
TRIALS = 40  # two seconds of CPU
KS = (100, 10, 1)


def design_of(grid: Sequence[Cell], configured: Mapping[str, Configured], base: float) -> Design:
    """The study as an experiment: a doubling of `base` at the largest k that its attempts allow.

    Every arm of every configuration is one comparison, as the study's claims are corrected over all of them.
    """
    first = configured[grid[0].name]
    attempts = int(first.value("evaluate.run.attempts", 100))
    controls = first.value("loop.run.controls", ())
    measured = (
        1 if first.value("loop.run.measured", "each") == "last" else first.value("loop.run.iterations", 2)
    )
    return Design(
        gain=min(base, 0.99 - base),
        k=next(k for k in KS if k <= attempts),
        problems=_problems(first),
        attempts=attempts,
        seeds=len({cell.seed for cell in grid}),
        base=base,
        arms=max(1, (len(controls) + measured) * len({cell.levels for cell in grid})),
        alike=max(1, len(controls) + bool(measured)),
    )


def foreseen(study_dir: str, grid: Sequence[Cell], configured: Mapping[str, Configured]) -> str:
    """One sentence for people; a warning where the study could hardly show a doubling.

    Problems that cannot be read are for the runs to refuse; here they only leave the question open.
    """
    try:
        return _foreseen(study_dir, grid, configured)
    except UserError as error:
        return f"What this study could show was not foreseen: {str(error).splitlines()[0]}"


def _foreseen(study_dir: str, grid: Sequence[Cell], configured: Mapping[str, Configured]) -> str:
    pattern = os.path.join(study_dir, "runs", "*", RunDir("").base_eval, "evaluation.json")
    path = next(iter(sorted(glob.glob(pattern))), "")
    pilot = []
    base, whence = GUESSED_BASE, "a guess"
    if path:
        with open(path) as file:
            evaluation = json.load(file)
        pilot = evaluation["problems"]
        k = design_of(grid, configured, base).k
        found = evaluation["pass_at_k"]["all"].get(str(k))
        if found and found["estimate"]:
            base, whence = min(found["estimate"], 0.45), f"as {os.path.relpath(path, study_dir)} has it"
        else:
            pilot = []
    design = design_of(grid, configured, base)
    chance = power(design, pilot=pilot, trials=TRIALS)
    sentence = (
        f"{design.seeds} seeds, {design.problems} problems, {design.attempts} attempts, {design.arms} comparisons: a "
        f"doubling of Pass@{design.k} from {100 * base:.1f}% ({whence}) would be shown in {100 * chance:.0f}% of such "
        "studies"
    )
    if chance >= ENOUGH:
        return f"{sentence}."
    return (
        f"WARNING: {sentence}: 'no difference shown' will say little. More problems, attempts or seeds, or fewer arms; "
        "`selfprog power --find=problems` says how many."
    )


def _problems(configured: Configured) -> int:
    problems = load_problems(
        configured.value("Experiment.problems", "seeds"),
        docstrings=configured.value("Experiment.docstrings", "drop"),
    )
    found = len(in_split(problems, configured.value("Experiment.eval_split", "test")))
    limit = configured.value("Experiment.max_eval_problems")
    return max(1, found if limit is None else min(found, limit))
