"""`selfprog study`: runs a grid of runs, one after another or one per machine, then writes tables, fits and a page.

Reads:    a study's gin file (gin/studies/), finished parts of its own runs.
Writes:   STUDY/runs/<cell> (run directories), STUDY/runs/<cell>.log, STUDY/{table.csv,table.md,transfer.md,fits.json,
          study.json} and STUDY/report/index.html.
Restart:  the cell, and inside it the shard; the same command resumes. A study may grow: more seeds, more levels.
Left out: any scheduler. `--list` prints what to run; `--cell=NAME` runs one cell, one per machine or slice.
"""

from __future__ import annotations

import ast
import dataclasses
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import gin
import t5x_selfprog.loop  # noqa: F401 (declares what the runs' gin files configure)
from t5x_selfprog import gin_files, gin_values, in_use
from t5x_selfprog.preflight import check_arms
from t5x_selfprog.run_dir import open_run
from t5x_selfprog.run_layout import WORKS, RunDir
from t5x_selfprog.study import results
from t5x_selfprog.study.foresight import foreseen
from t5x_selfprog.study.grid import Axes, Cell, axes_of, cells, in_file_order
from t5x_selfprog.study.sharing import take_over
from verifier.errors import UserError


@gin.configurable("run", module="study")
@dataclasses.dataclass(frozen=True)
class Study:
    """A grid of runs; `study.run` in gin.

    Attributes:
      gin_file: the configuration all runs start from, named as for `selfprog run`.
      axes: see `study.grid`.
      bindings: on top of the gin file, for all runs.
      transfer: an axis whose levels teach each other: every level's run is also trained on the pairs of each other
        level's run, for its own number of steps. Empty for none.
      train_flops: fine-tune every base for this many FLOPs per iteration (6 per weight and token) instead of epochs.
    """

    gin_file: str = gin.REQUIRED
    axes: Axes | Sequence[tuple[str, Any]] = ()
    seeds: Sequence[int] = (0, 1, 2)
    bindings: Sequence[str] = ()
    transfer: str = ""
    train_flops: float | None = None

    def levels(self) -> dict[str, dict[str, Sequence[str]]]:
        return axes_of(self.axes)

    def cells(self) -> list[Cell]:
        """Its runs, the most informative first. Raises UserError if there can be no such study."""
        levels = self.levels()
        if self.transfer and self.transfer not in levels:
            raise UserError(
                f"study.run.transfer: {self.transfer!r} is no axis; there are {', '.join(levels) or 'none'}"
            )
        return cells(levels, self.seeds, self.bindings)


def show(study_dir: str, study: Study | None = None) -> dict[str, Any]:
    """Prints a command for each run of a study, by default the one that gin binds."""
    grid = (study or Study()).cells()
    for cell in grid:
        print(f"selfprog study {_flags()} --run_dir={shlex.quote(study_dir)} --cell={cell.name}")
    return {"cells": [cell.name for cell in grid]}


def run(study_dir: str, study: Study | None = None, only: str = "") -> dict[str, Any]:
    """Runs all unfinished cells, then writes the results of the finished ones.

    Args:
      study: by default, the one that gin binds.
      only: the name of the cell to run; empty for all.

    Raises UserError at the end if runs failed; the others' results are still written.
    """
    study = study or Study()
    gin_file, transfer, grid = study.gin_file, study.transfer, study.cells()
    if only and only not in {cell.name for cell in grid}:
        raise UserError(f"--cell={only}: no such run; `--list` shows {len(grid)}, such as {grid[0].name}")
    root = os.path.join(study_dir, "runs")
    configured = {cell.name: _configure(cell, gin_file, study.train_flops) for cell in grid}
    if not only and not all(_is_finished(root, cell.name) for cell in grid):
        print(f"study: {foreseen(study_dir, grid, configured)}", file=sys.stderr)
    failed = []
    for number, cell in enumerate(grid, start=1):
        if not only or cell.name == only:
            print(f"study: {number} of {len(grid)}: {cell.name}", file=sys.stderr)
            if not _run(cell, gin_file, root, configured):
                failed.append(cell.name)
    plain = [cell.name for cell in grid]
    for cell in grid if transfer else ():
        taught = _with_teachers(cell, grid, transfer, root, configured)
        configured[taught.name] = Configured(gin_file, taught.bindings)
        # All runs' pairs must exist; on several machines, the last one to finish starts this part.
        if only in ("", cell.name) and all(_is_finished(root, name) for name in plain):
            print(f"study: transfer: {taught.name}", file=sys.stderr)
            if not _run(taught, gin_file, root, configured):
                failed.append(taught.name)
    summary = results.write(study_dir, in_file_order(grid, study.levels()), configured, transfer)
    if failed:
        logs = ", ".join(os.path.join(root, f"{name}.log") for name in failed[:3])
        raise UserError(
            f"{len(failed)} of {len(grid)} runs failed; see {logs}. The same command tries them again."
        )
    return summary


def _flags() -> str:
    return (
        " ".join(word for word in sys.argv[1:] if word.startswith(("--gin_file", "--gin.")))
        or "--gin_file=..."
    )


class Configured:
    """A cell's bindings as gin resolves them, and the flags that set them."""

    def __init__(self, gin_file: str, flags: Sequence[str]) -> None:
        self.flags = list(flags)
        paths = gin_files.load([gin_file], self.flags)
        gin_values.require_fitting(paths, self.flags)
        check_arms(gin_values.handed("loop.run", "controls"), sources_there=False)
        self.bindings: Mapping[str, str] = gin_files.bindings()
        self.text = gin_files.config_text()

    def value(self, name: str, default: Any = None) -> Any:
        """The value of a literal binding."""
        return ast.literal_eval(self.bindings[name]) if name in self.bindings else default


def _configure(cell: Cell, gin_file: str, train_flops: float | None) -> Configured:
    configured = Configured(gin_file, cell.bindings)
    if train_flops is not None:
        steps = max(1, round(train_flops / results.flops_of_step(configured)))
        configured = Configured(gin_file, [*cell.bindings, f"finetune.run.steps={steps}"])
    return configured


def _run(cell: Cell, gin_file: str, root: str, configured: Mapping[str, Configured]) -> bool:
    """Runs one cell to its end in its own process; returns whether it succeeded."""
    mine, path = configured[cell.name], os.path.join(root, cell.name)
    if _is_finished(root, cell.name):
        open_run(path, mine.bindings, mine.text)
        return True
    others = [(RunDir(os.path.join(root, name)), other.bindings) for name, other in configured.items()]
    try:
        with in_use.held(path, "study", WORKS):
            taken = take_over(open_run(path, mine.bindings, mine.text), mine.bindings, others)
    except in_use.InUse as error:
        print(f"study: {error}", file=sys.stderr)
        return False
    for line in taken:
        print(f"  took over {line}", file=sys.stderr)
    flags = [f"--gin.{flag}" for flag in mine.flags]
    command_line = [sys.executable, "-m", "t5x_selfprog.main", "run", f"--gin_file={gin_file}", *flags]
    with open(f"{path}.log", "a") as log:
        done = subprocess.run(
            [*command_line, f"--run_dir={path}", "--quiet"], stdout=log, stderr=log, check=False
        )
    return done.returncode == 0


def _is_finished(root: str, name: str) -> bool:
    return os.path.exists(os.path.join(root, name, "summary.json"))


def _with_teachers(
    cell: Cell, grid: Sequence[Cell], axis: str, root: str, configured: Mapping[str, Configured]
) -> Cell:
    """The cell with an arm `from_<label>` for every other level of the axis, with the same seed and other levels."""
    mine = dict(cell.levels)
    teachers = {
        f"from_{dict(other.levels)[axis]}": os.path.join(root, other.name)
        for other in grid
        if other.seed == cell.seed and other.name != cell.name
        and {**dict(other.levels), axis: ""} == {**mine, axis: ""}
    }  # fmt: skip
    controls = tuple(configured[cell.name].value("loop.run.controls", ()))
    # Sources of the cell's own arms.
    elsewhere = dict(configured[cell.name].value("control_dataset.run_control.sources", {}))
    return Cell(
        cell.levels,
        cell.seed,
        (
            *configured[cell.name].flags,
            f"loop.run.controls={(*controls, *teachers)!r}",
            f"control_dataset.run_control.sources={elsewhere | teachers!r}",
        ),
        results.TAUGHT,
    )
