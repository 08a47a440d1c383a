"""The files and folders outside the repository's own that a run's configuration reads.

A slice's workers have only the repository, so scripts/tpu/stage must copy these to them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from t5x_selfprog import gin_files
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

    Raises UserError if the configuration is wrong, or something is missing or lies outside the repository.
    """
    from t5x_selfprog import loop  # noqa: F401 (declares to gin what a run configures)

    gin_files.load(names, bindings)
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
    return [path for path in sorted(set(found)) if not any(path.startswith(f"{other}/") for other in found)]


def _is_shipped_model(parameter: str, path: str) -> bool:
    return parameter == "Experiment.base" and os.path.exists(os.path.join(store.SHIPPED, path, "model.json"))
