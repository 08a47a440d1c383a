"""A run given in place of a model stands for the newest model that it has finished."""

from __future__ import annotations

from t5x_selfprog.run_dir import is_run
from t5x_selfprog.run_layout import RunDir
from verifier.errors import UserError
from verifier.storage import files


def of_run(run: RunDir) -> int | None:
    """The last iteration with a finished model; None if there is none. An iteration without a pair makes no model."""
    marks = ("done.json", "model.json")
    trained = [
        number
        for number in run.iterations()
        if all(files.exists(files.join(run.stage(number, "checkpoints"), mark)) for mark in marks)
    ]
    return max(trained, default=None)


def folder(path: str) -> str:
    """The path itself, or the folder of a run's newest model. Raises UserError if a run has none yet."""
    if not is_run(path) or files.exists(files.join(path, "model.json")):
        return path
    run = RunDir(path)
    newest = of_run(run)
    if newest is None:
        raise UserError(
            f"--model={path}: no iteration of this run has finished training; go on with it "
            f"(`selfprog run --run_dir={path}`), or name a model's folder"
        )
    return run.stage(newest, "checkpoints")
