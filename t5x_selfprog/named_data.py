"""The files and folders that gin's current configuration names, by the parameter that names each."""

from __future__ import annotations

from typing import Any

import gin

SHIPPED = {"Experiment.problems": ("seeds",), "SolvePrompt.tutorial": ("seeds", "none")}
_PARAMETERS = ("Experiment.base", "Experiment.problems", "SolvePrompt.tutorial")


def named() -> list[tuple[str, str]]:
    """(parameter, path) of base, problems, tutorial, and other sources of pairs that an arm is trained on."""
    found = [(parameter, _bound(parameter)) for parameter in _PARAMETERS]
    sources = _bound("control_dataset.run_control.sources") or {}
    controls = _bound("loop.run.controls") or ()
    for arm, source in sources.items():
        if any(control.removesuffix("_best") == arm for control in controls):
            found.append((f"control_dataset.run_control.sources[{arm!r}]", source))
    return [(parameter, path) for parameter, path in found if path is not None]


def besides_base_and_problems() -> dict[str, str]:
    """Those that `Experiment` does not name and the repository does not contain."""
    return {
        parameter: path
        for parameter, path in named()
        if not parameter.startswith("Experiment.") and path not in SHIPPED.get(parameter, ())
    }


def _bound(parameter: str) -> Any:
    try:
        return gin.query_parameter(parameter)
    except ValueError:
        return None
