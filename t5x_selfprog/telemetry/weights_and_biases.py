"""The numbers of a run at Weights & Biases too, beside TensorBoard's, where somebody asks for that.

The package `wandb` is imported only then, and none of its failures ends a run: what it misses is in RUN/events.
A run keeps its identity there over its lives. Steps count anew in every stage, so each stage has an axis of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, Literal

from verifier.errors import UserError
from verifier.storage import files


@dataclasses.dataclass(frozen=True)
class Wandb:
    """Where to.

    Attributes:
      project: its name there; "" sends nothing.
      entity: a user or a team; "" is whoever is logged in.
      mode: "offline" keeps the numbers in RUN/wandb until `wandb sync` sends them.
    """

    project: str = ""
    entity: str = ""
    mode: Literal["online", "offline"] = "online"

    def __post_init__(self) -> None:
        if self.mode not in ("online", "offline"):
            raise UserError(f"Wandb.mode={self.mode!r}: choose 'online' or 'offline'.")
        if self.project and importlib.util.find_spec("wandb") is None:
            raise UserError(
                f"Wandb.project={self.project!r} needs a package that is not here: SELFPROG_EXTRAS=wandb scripts/setup "
                "(or pip install -e '.[wandb]'); without it, RUN/events has the same numbers for TensorBoard."
            )


class Sink:
    """One run there."""

    def __init__(self, config: Wandb, root: str):
        self._run: Any = None
        self._axes: set[str] = set()
        self._lost = False
        self._try(lambda: self._begin(config, root))

    def write(self, place: str, step: int, scalars: Mapping[str, float]) -> None:
        """The scalars of one step of the stage in this folder of the run."""

        def send() -> None:
            axis = f"{place}/step"
            if axis not in self._axes:
                self._axes.add(axis)
                self._run.define_metric(axis)
                self._run.define_metric(f"{place}/*", step_metric=axis)
            self._run.log({axis: step} | {f"{place}/{name}": value for name, value in scalars.items()})

        self._try(send)

    def conclude(self, figures: Mapping[str, float]) -> None:
        """The run's final figures."""
        self._try(lambda: self._run.summary.update(dict(figures)))

    def close(self) -> None:
        self._try(lambda: self._run.finish())

    def _begin(self, config: Wandb, root: str) -> None:
        import wandb

        if not files.is_remote(root):
            os.makedirs(root, exist_ok=True)
        whole = root if files.is_remote(root) else os.path.realpath(root)
        self._run = wandb.init(
            project=config.project,
            entity=config.entity or None,
            name=PurePath(root).name,
            id=hashlib.sha256(whole.encode()).hexdigest()[:16],
            resume="allow",
            mode=config.mode,
            dir=None if files.is_remote(root) else root,
        )

    def _try(self, act: Callable[[], None]) -> None:
        """Reports the first failure; after it, sends nothing more."""
        if self._lost:
            return
        try:
            act()
        except Exception as error:  # of any kind: the network, the service, its package
            self._lost = True
            print(
                f"Weights & Biases: {type(error).__name__}: {error}. The run goes on without; RUN/events has it all.",
                file=sys.stderr,
            )
