"""Training checkpoints: Orbax, asynchronous, atomic, the newest few kept.

A checkpoint holds two items: `params` (all that sampling needs) and `rest` (step and optimizer state). The last
checkpoint of a finished run holds only `params`.
"""

from typing import Any

import orbax.checkpoint as ocp

from t5x_selfprog.model.checkpoint_path import checkpoint_path
from t5x_selfprog.training.train_step import TrainState
from verifier.storage import files

REST = "rest"  # the folder of that item in a checkpoint


class Checkpoints:
    """The numbered checkpoints of one training run; a context manager that waits for pending writes."""

    def __init__(self, directory: str, keep: int = 1):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True, enable_async_checkpointing=True)
        self._path = checkpoint_path(directory)
        self._manager = ocp.CheckpointManager(self._path, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exc: object) -> None:
        self._manager.wait_until_finished()
        self._manager.close()

    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def is_final(self) -> bool:
        """Whether the newest checkpoint is the last of a finished run."""
        latest = self.latest_step()
        return latest is not None and not files.is_folder(files.join(self._path, str(latest), REST))

    def save(self, state: TrainState) -> None:
        """Starts writing, and returns once the state may be overwritten."""
        rest = {"step": state.step, "opt_state": state.opt_state}
        args = ocp.args.Composite(
            params=ocp.args.StandardSave(state.params), rest=ocp.args.StandardSave(rest)
        )
        self._manager.save(int(state.step), args=args)

    def wait(self) -> None:
        """Returns once everything saved is on disk."""
        self._manager.wait_until_finished()

    def save_final(self, step: int, params: Any) -> None:
        """Writes only the weights, and returns once they are on disk."""
        if self.latest_step() == step:
            if self.is_final():  # the run was killed before it said that it is over
                return
            self._manager.wait_until_finished()
            self._manager.delete(step)
        self._manager.save(step, args=ocp.args.Composite(params=ocp.args.StandardSave(params)), force=True)
        self._manager.wait_until_finished()

    def restore(self, abstract: TrainState) -> TrainState:
        """The newest state, laid out as in `abstract` (ShapeDtypeStructs with shardings of any mesh)."""
        rest = {"step": abstract.step, "opt_state": abstract.opt_state}
        args = ocp.args.Composite(
            params=ocp.args.StandardRestore(abstract.params), rest=ocp.args.StandardRestore(rest)
        )
        found = self._manager.restore(self._manager.latest_step(), args=args)
        return TrainState(found.rest["step"], found.params, found.rest["opt_state"])

    def restore_final(self, abstract: Any) -> Any:
        """The weights of the newest checkpoint, laid out as in `abstract`."""
        args = ocp.args.Composite(params=ocp.args.StandardRestore(abstract))
        return self._manager.restore(self.latest_step(), args=args).params
