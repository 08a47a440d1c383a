"""The training loop that fine-tuning and pretraining share."""

import collections
import contextlib
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from t5x_selfprog import hosts, machine, partitioning, preemption
from t5x_selfprog.model import network
from t5x_selfprog.model.compute_dtype import on_this_device
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.progress import progress_bar
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.compiles import compiles
from t5x_selfprog.training.batches import Batch, filled
from t5x_selfprog.training.checkpoints import Checkpoints
from t5x_selfprog.training.flops import mfu
from t5x_selfprog.training.loop_config import LoopConfig
from t5x_selfprog.training.metrics import MetricsWriter
from t5x_selfprog.training.optimizers import make_schedule
from t5x_selfprog.training.task import TrainingTask
from t5x_selfprog.training.train_step import TrainState
from t5x_selfprog.training.training_programs import TrainingPrograms

REMEDY = (
    "Lower batch_size or length, raise LoopConfig.accumulate, lower LoopConfig.loss_chunk, set LoopConfig.remat to "
    "'dots' or 'full', or split the weights over more devices (MeshConfig.fsdp)."
)

# Steps that the host dispatches before an earlier one has finished: enough that the device never waits, and few, so
# that a signal to stop is answered, and progress shown, within two steps however long these take.
_AHEAD = 2

TRAINING_REMEDY = (
    "Take a device with more memory, split weights and moments over several (MeshConfig.fsdp), take an optimizer with "
    "a smaller state (OptimizerConfig.name = 'adafactor'), or a smaller model (`selfprog models`)."
)


class NonFiniteLoss(RuntimeError):
    """Training diverged; everything after the last checkpoint is discarded."""


def train(
    loop: LoopConfig,
    config: ModelConfig,
    params: network.Params | Callable[[], network.Params],
    task: TrainingTask,
    directory: str,
    partitioner: partitioning.Partitioner,
    *,
    stop_after_s: float = math.inf,
    label: str = "train",
) -> TrainState | None:
    """Updates the weights `task.num_steps` times, continuing from the newest checkpoint in `directory`.

    Args:
      params: the initial trainable weights if there is no checkpoint; a function is called only then, and what it
        returns is let go as soon as it is copied.
      stop_after_s: saves and returns None once this many seconds have passed (the end of a session, not a result).
      label: the run's name in messages.

    Returns:
      The final state, or None if stopped. Where the last checkpoint of a finished run is there already, as after a kill
      before the caller had noted the end, the state is its weights alone.

    Raises:
      NonFiniteLoss: the loss is not finite at a logging step.
      Preempted: the process received SIGTERM; the state has been saved.
    """
    config = loop.computing(config)
    if loop.dtype is None:
        config = on_this_device(config, "LoopConfig.dtype='bfloat16' overrides this")
    watch = recorder.current()
    num_steps, learning = task.num_steps, task.learning
    programs = TrainingPrograms(loop, config, partitioner, num_steps, learning, task.objective)
    step_fn, eval_fn = programs.step().jitted, programs.heldout().jitted
    schedule, began = make_schedule(loop.optimizer, num_steps), time.monotonic()

    # Unattributed time counts as checkpoint I/O: opening checkpoints, and waiting until they are written.
    with watch.part("save"), Checkpoints(directory, loop.keep) as checkpoints, partitioning.use(partitioner):
        # ---- state -----------------------------------------------------------------------------------------
        with watch.part("load"):
            shardings, latest = programs.shardings, checkpoints.latest_step()
            if latest is None:
                initial = params() if callable(params) else params
                if hosts.count() == 1:  # a copy, because the step consumes what it is given
                    initial = jax.device_put(jax.tree.map(jnp.copy, initial), shardings.params)
                else:
                    initial = programs.copy().jitted(initial)
                opt_state = programs.moments().jitted(initial)
                state = TrainState(hosts.place(np.zeros((), np.int32), shardings.step), initial, opt_state)
                del initial, opt_state
            elif checkpoints.is_final():  # all is learnt, but nobody was told
                weights = checkpoints.restore_final(programs.state_shape().params)
                return TrainState(np.int32(latest), weights, ())
            else:
                state = checkpoints.restore(programs.state_shape())
            first = int(state.step)
            del params
        held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
        holds = f"weights and optimizer {machine.gib(held)}, on all devices together"

        # ---- loop ------------------------------------------------------------------------------------------
        bar = progress_bar(total=num_steps, initial=first, desc=label, unit="step")
        with (
            open_metrics(directory, first) as metrics, bar, preemption.notice() as notice, watch.part("train")
        ):  # fmt: skip
            if metrics is not None and metrics.lost_steps:
                watch.lost(metrics.lost_steps, metrics.lost_s)
            window, saved = Window(config, first, learning.whole), time.monotonic()
            unfinished: collections.deque[jax.Array] = collections.deque()  # the losses of steps on their way
            for step in range(first, num_steps):
                if len(unfinished) == _AHEAD:
                    jax.block_until_ready(unfinished.popleft())
                batch = task.batch(step, state.params)
                with machine.naming_memory(f"the step of {label} ({holds})", REMEDY):
                    rows = filled(batch, partitioner.batch_ways * loop.accumulate)
                    placed = hosts.place(rows, jax.tree.map(lambda _: programs.by_rows, rows))
                    state, scalars = step_fn(state, placed, learning.frozen)
                window.see(batch)
                bar.update()
                done = step + 1
                watch.step("step", done, scalars)
                unfinished.append(scalars["loss"])
                if done % loop.log_every == 0 or done == num_steps:
                    loss = float(scalars["loss"])
                    if not math.isfinite(loss):
                        raise NonFiniteLoss(
                            f"{label}: loss is {loss} at step {done}; lower the learning rate."
                        )
                    line = {"loss": loss, "grad_norm": float(scalars["grad_norm"])} | window.scalars(done)
                    line["learning_rate"] = float(schedule(step))
                    line |= {
                        name: float(value) for name, value in scalars.items() if name not in (*line, "weight")
                    }
                    if task.heldout and loop.eval_every and done % loop.eval_every == 0:
                        with watch.part("heldout"):
                            line["heldout_loss"] = mean_loss(
                                eval_fn, state.params, task.heldout, learning.frozen
                            )
                    if metrics is not None:
                        metrics.write(done, line)
                        watch.record("train", directory, done, line)
                    bar.set_postfix(loss=f"{loss:.3f}", tok_s=f"{line['tokens_per_s']:,.0f}")
                    window = Window(config, done, learning.whole)
                if done == num_steps:
                    break
                told, late = notice.reached(done), time.monotonic() - began > stop_after_s
                due = loop.checkpoint_every > 0 and done % loop.checkpoint_every == 0
                if done % loop.log_every == 0:  # hosts need not have begun at the same moment
                    due |= hosts.agree(time.monotonic() - saved > loop.checkpoint_every_s)
                if told or late or due:
                    jax.block_until_ready(state)  # saving would wait anyway; waiting here counts as training
                    with watch.part("save"):
                        checkpoints.save(state)
                    saved = time.monotonic()
                if told:
                    checkpoints.wait()
                    hosts.barrier("saved")  # host 0 gets here last, and a host that leaves ends all others
                    raise preemption.Preempted
                if late:
                    return None
    return state


class Window:
    """What happened since the last logged step."""

    def __init__(self, config: ModelConfig, step: int, whole: bool = True):
        """whole: all weights are trained, as the usual count of operations assumes."""
        self._config, self._step, self._whole = config, step, whole
        self._compiled = compiles().totals()
        self._tokens = self._positions = self._length = 0
        self._began = time.monotonic()

    def see(self, batch: Batch) -> None:
        self._tokens += int((batch.segment_ids > 0).sum())
        self._positions += batch.segment_ids.size
        self._length = batch.segment_ids.shape[1]

    def scalars(self, step: int) -> dict[str, float]:
        """Rates up to this step, which the device has finished; compilation is excluded and reported separately."""
        compiled = compiles().since(self._compiled)
        seconds = max(time.monotonic() - self._began - compiled["compile_s"], 1e-9)
        rate = self._tokens / seconds
        share = mfu(self._config, self._length, rate) if self._whole else None
        return {
            "tokens_per_s": rate,
            "tokens_per_s_per_chip": rate / jax.device_count(),
            **({} if share is None else {"mfu": share}),
            "padding": 1 - self._tokens / max(self._positions, 1),
            "step_s": seconds / max(step - self._step, 1),
            **compiled,
        }


def open_metrics(directory: str, first: int) -> contextlib.AbstractContextManager[MetricsWriter | None]:
    """A writer on host 0, None on the others."""
    return MetricsWriter(directory, first) if hosts.is_first() else contextlib.nullcontext()


def mean_loss(eval_fn: Callable, params: network.Params, batches: Sequence[Batch], frozen: Any) -> float:
    """Nats per token over all batches."""
    sums = [eval_fn(params, batch, frozen) for batch in batches]
    return float(sum(loss for loss, _ in sums) / sum(weight for _, weight in sums))
