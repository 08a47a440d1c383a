"""Restores the weights of a training checkpoint onto devices, in any layout."""

from typing import Any

import jax
import orbax.checkpoint as ocp

from t5x_selfprog.model.checkpoint_path import checkpoint_path


def restore_params(directory: str, step: int, abstract: Any) -> Any:
    """Only the weights of one checkpoint, laid out as in `abstract`."""
    with ocp.CheckpointManager(checkpoint_path(directory)) as manager:
        return manager.restore(
            step, args=ocp.args.Composite(params=ocp.args.StandardRestore(abstract))
        ).params


def abstract_like(state: Any, shardings: Any) -> Any:
    """Shapes and dtypes of `state` with the given shardings: what `restore` takes."""
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), state, shardings)
