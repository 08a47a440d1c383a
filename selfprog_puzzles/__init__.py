"""Puzzles as an environment of the package `verifiers`, for trainers that use such environments.

    vf-eval selfprog-puzzles --env.taskset.puzzles=RUN_OR_SET      `python -m selfprog_puzzles` shows it with a stub

`verifiers` finds an environment by the name of a top-level module, hence a package of its own.
It may import what is light of t5x_selfprog (puzzles, run_dir, run_layout) and `verifier`; it loads neither JAX nor
NumPy.
"""

from importlib import import_module
from typing import Any

_HOMES = {"OneAnswer": "harness", "PuzzleTaskset": "taskset"}
__all__ = ["OneAnswer", "PuzzleTaskset"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'selfprog_puzzles' has no attribute {name!r}")
    try:
        return getattr(import_module(f"selfprog_puzzles.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "verifiers":
            raise
        raise ModuleNotFoundError(
            "selfprog_puzzles is an environment of the package verifiers, which is not installed: "
            "SELFPROG_EXTRAS=verifiers scripts/setup, or pip install 't5x_selfprog[verifiers]'",
            name=error.name,
        ) from error
