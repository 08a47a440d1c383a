"""Reads the weights of a training checkpoint on the host, one at a time."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from t5x_selfprog.model.checkpoint_path import checkpoint_path
from verifier.storage import files


@dataclasses.dataclass(frozen=True)
class OrbaxLeaf:
    """One weight of the checkpoint (an Orbax item) in `directory`; nothing is read before `open`."""

    directory: str
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype

    def open(self) -> np.ndarray:
        wanted: Any = jax.ShapeDtypeStruct(self.shape, self.dtype)
        how: Any = ocp.RestoreArgs(restore_type=np.ndarray)
        for key in reversed(self.name.split("/")):
            wanted, how = {key: wanted}, {key: how}
        args = ocp.args.PyTreeRestore(item=wanted, restore_args=how, partial_restore=True)
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            found = checkpointer.restore(self.directory, args=args)
        for key in self.name.split("/"):
            found = found[key]
        return found


def open_leaves(path: str, step: int, wanted: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, OrbaxLeaf]:
    """The weights of step `step` of the training run in `path`, by name."""
    directory = files.join(checkpoint_path(path), str(step), "params")
    return {name: OrbaxLeaf(directory, name, tuple(x.shape), np.dtype(x.dtype)) for name, x in wanted.items()}
