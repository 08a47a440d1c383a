"""The files and folders outside the repository's own that a run's configuration reads.

A slice's workers have only the repository, so scripts/tpu/stage must copy these to them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from t5x_selfprog import gin_errors, gin_files, gin_values
from t5x_selfprog.model import store
from t5x_selfprog.named_data import SHIPPED, named
from verifier.errors import UserError
from verifier.storage import files

REMEDY = {
    "Experiment.base": "selfprog import --model=... --output={path}",
    "Experiment.problems": "selfprog p3 --source={path} --download",
    "SolvePrompt.tutorial": "selfprog p3 --source={path} --download",
}


def paths(names: Sequence[str], bindings: Sequence[str]) -> list[str]:
    """Paths relative to the working directory (the repository), none inside another; without those in a bucket.

    Args:
      names, bindings: gin files and `NAME=VALUE`, as given to `selfprog run`.

    Raises UserError if the configuration is wrong, or something is missing or lies outside the repository, or if a gin
    file lies outside gin/, all that workers have.
    """
    from t5x_selfprog import loop, preflight  # noqa: F401 (the loop declares to gin what a run configures)

    files_read = gin_files.load(names, bindings)
    for path in files_read:
        if not files.is_remote(path) and gin_files.GIN_FOLDER not in Path(path).resolve().parents:
            raise UserError(f"{path}: workers get the gin files under gin/ alone; put it into gin/runs/")
    gin_values.require_fitting(files_read, bindings)
    gin_values.require_buildable(files_read, bindings)
    found = []
    for parameter, path in named():
        if files.is_remote(path) or path in SHIPPED.get(parameter, ()) or _is_shipped_model(parameter, path):
            continue
        if not os.path.exists(path):
            remedy = REMEDY.get(parameter, "bring it here")
            raise UserError(f"{parameter}={path!r} is not here: {remedy.format(path=path)}.")
        relative = os.path.relpath(path)
        if os.path.isabs(path) or relative.startswith(os.pardir):
            raise UserError(
                f"{parameter}={path!r} lies outside of {os.getcwd()}, where workers have nothing: copy it to a folder "
                "below and name it relative to that, or give gs://."
            )
        found.append(relative)
    with gin_errors.explain_calls(files_read, bindings):
        preflight.check_settings()
    return [path for path in sorted(set(found)) if not any(path.startswith(f"{other}/") for other in found)]


def _is_shipped_model(parameter: str, path: str) -> bool:
    return parameter == "Experiment.base" and os.path.exists(os.path.join(store.SHIPPED, path, "model.json"))
