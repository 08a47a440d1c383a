"""The training loop that fine-tuning and pretraining share."""

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Collection, Sequence
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from t5x_selfprog import hosts, machine, partitioning, preemption
from t5x_selfprog.bounds import Count, CountOrAll, OneOf, Whole
from t5x_selfprog.compiler_options import compiler_options
from t5x_selfprog.model import network, packed_attention
from t5x_selfprog.model.compute_dtype import on_this_device
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.orbax_restore import abstract_like
from t5x_selfprog.model.products import PROJECTION
from t5x_selfprog.progress import progress_bar
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.compiles import compiles
from t5x_selfprog.training.batches import Batch, filled
from t5x_selfprog.training.checkpoints import Checkpoints
from t5x_selfprog.training.flops import mfu
from t5x_selfprog.training.learning import WHOLE, Learning
from t5x_selfprog.training.metrics import MetricsWriter
from t5x_selfprog.training.optimizers import OptimizerConfig, make_optimizer, make_schedule
from t5x_selfprog.training.task import TrainingTask
from t5x_selfprog.training.train_step import TrainState, loss_sums, make_train_step
from verifier.errors import UserError

REMAT: dict[str, Callable[[Callable], Callable]] = {
    "none": lambda f: f,
    "dots": functools.partial(
        jax.checkpoint, policy=jax.checkpoint_policies.save_only_these_names(PROJECTION)
    ),
    "full": jax.checkpoint,
}


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """How training runs, independent of the data.

    Attributes:
      accumulate: parts a batch is split into; gradients are summed over them.
      loss_chunk: positions of a row whose logits exist at a time.
      remat: what the backward pass recomputes instead of keeping: "none", "dots" (everything but the results of
        projections: saves most of the memory for a few percent more arithmetic), or "full" (everything but each
        layer's input: a third more arithmetic).
      dtype: the type of activations and gradients, "float32" or "bfloat16"; weights, their updates and the loss stay
        float32. None means the model's own, but float32 on a CPU without bfloat16 units.
      attention: "plain", "splash" (TPU) or "cudnn" (NVIDIA GPU, bfloat16); see model/packed_attention.py.
      unroll: layers per step of the loop over depth (-1: all of them).
      checkpoint_every_s: seconds from one checkpoint to the next, looked at where the loss is logged: at 2.7B one is
        32 GB, and what a kill costs is time, not steps.
      checkpoint_every, log_every, eval_every: in steps; 0 turns the first and evaluation off.
      keep: how many checkpoints stay on disk.
    """

    optimizer: OptimizerConfig = OptimizerConfig()
    accumulate: Count = 1
    loss_chunk: Count = 512
    remat: Annotated[str, OneOf(REMAT)] = "none"
    dtype: Annotated[str, OneOf(("float32", "bfloat16"))] | None = None
    attention: Annotated[str, OneOf(packed_attention.KERNELS)] = "plain"
    unroll: CountOrAll = 1
    checkpoint_every_s: float = 180.0
    checkpoint_every: Whole = 0
    log_every: Count = 10
    eval_every: Whole = 0
    keep: Count = 1

    def __post_init__(self):
        choices: dict[str, Collection[str | None]] = {
            "remat": REMAT,
            "dtype": (None, "float32", "bfloat16"),
            "attention": packed_attention.KERNELS,
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise UserError(
                    f"LoopConfig.{name}={getattr(self, name)!r} is unknown: choose {', '.join(map(str, known))}."
                )

    def computing(self, config: ModelConfig) -> ModelConfig:
        """The model's configuration with this loop's dtype."""
        return config if self.dtype is None else dataclasses.replace(config, dtype=self.dtype)

    def forward_options(self, config: ModelConfig) -> dict:
        return {
            "remat": REMAT[self.remat],
            "unroll": config.num_layers if self.unroll == -1 else self.unroll,
            "attention": packed_attention.KERNELS[self.attention],
        }


REMEDY = (
    "Lower batch_size or length, raise LoopConfig.accumulate, lower LoopConfig.loss_chunk, set LoopConfig.remat to "
    "'dots' or 'full', or split the weights over more devices (MeshConfig.fsdp)."
)


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
      The final state, or None if stopped.

    Raises:
      NonFiniteLoss: the loss is not finite at a logging step.
      Preempted: the process received SIGTERM; the state has been saved.
    """
    config = loop.computing(config)
    if loop.dtype is None:
        config = on_this_device(config, "LoopConfig.dtype='bfloat16' overrides this")
    watch = recorder.current()
    num_steps, learning = task.num_steps, task.learning
    axes = learning.axes(config)
    optimizer = make_optimizer(loop.optimizer, make_schedule(loop.optimizer, num_steps), axes)
    options = loop.forward_options(config)
    step_fn = make_train_step(
        config, optimizer, accumulate=loop.accumulate, loss_chunk=loop.loss_chunk, weights=learning.params,
        loss=task.objective, **options,
    )  # fmt: skip
    schedule, began = make_schedule(loop.optimizer, num_steps), time.monotonic()

    # Unattributed time counts as checkpoint I/O: opening checkpoints, and waiting until they are written.
    with watch.part("save"), Checkpoints(directory, loop.keep) as checkpoints, partitioning.use(partitioner):
        # ---- state -----------------------------------------------------------------------------------------
        with watch.part("load"):
            shardings = state_shardings(config, optimizer, partitioner, learning)
            if checkpoints.latest_step() is None:
                initial = params() if callable(params) else params
                copy = lambda x: jax.tree.map(jnp.copy, x)  # noqa: E731 (the step consumes what it is given)
                if hosts.count() == 1:
                    initial = jax.device_put(copy(initial), shardings.params)
                else:
                    initial = jax.jit(copy, out_shardings=shardings.params)(initial)
                opt_state = jax.jit(optimizer.init, out_shardings=shardings.opt_state)(initial)
                state = TrainState(hosts.place(np.zeros((), np.int32), shardings.step), initial, opt_state)
                del initial, opt_state
            else:
                abstract = abstract_state(config, optimizer, learning)
                state = checkpoints.restore(abstract_like(abstract, shardings))
            first = int(state.step)
            del params

        # ---- step ------------------------------------------------------------------------------------------
        by_rows = partitioner.sharding(("batch", "length"), activation=True)
        for_device = compiler_options(partitioner.platform)
        step_fn = jax.jit(
            step_fn,
            in_shardings=(shardings, None, None),
            out_shardings=(shardings, None),
            donate_argnums=0,
            compiler_options=for_device,
        )
        held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
        holds = f"weights and optimizer {machine.gib(held)}, on all devices together"
        eval_fn = jax.jit(
            lambda p, b: loss_sums(
                config, learning.params(p, learning.frozen), b, loop.loss_chunk, **options
            ),
            compiler_options=for_device,
        )

        # ---- loop ------------------------------------------------------------------------------------------
        bar = progress_bar(total=num_steps, initial=first, desc=label, unit="step")
        with (
            open_metrics(directory, first) as metrics, bar, preemption.notice() as notice, watch.part("train")
        ):  # fmt: skip
            if metrics is not None and metrics.lost_steps:
                watch.lost(metrics.lost_steps, metrics.lost_s)
            window, saved = Window(config, first, learning.whole), time.monotonic()
            for step in range(first, num_steps):
                batch = task.batch(step, state.params)
                with machine.naming_memory(f"the step of {label} ({holds})", REMEDY):
                    rows = filled(batch, partitioner.batch_ways * loop.accumulate)
                    placed = hosts.place(rows, jax.tree.map(lambda _: by_rows, rows))
                    state, scalars = step_fn(state, placed, learning.frozen)
                window.see(batch)
                bar.update()
                done = step + 1
                watch.step("step", done, scalars)
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
                            line["heldout_loss"] = mean_loss(eval_fn, state.params, task.heldout)
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
                    hosts.barrier("saved")  # host 0 is through last, and who leaves takes all along
                    raise preemption.Preempted
                if late:
                    return None
    return state


class Window:
    """What happened since the last logged step."""

    def __init__(self, config: ModelConfig, step: int, whole: bool = True):
        """whole: all weights are trained, as the count of operations has it."""
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


def mean_loss(eval_fn: Callable, params: network.Params, batches: Sequence[Batch]) -> float:
    """Nats per token over all batches."""
    sums = [eval_fn(params, batch) for batch in batches]
    return float(sum(loss for loss, _ in sums) / sum(weight for _, weight in sums))


def fresh_state(config: ModelConfig, optimizer) -> TrainState:
    """The state before the first step: freshly initialised weights."""
    params = network.init(config, jax.random.key(0))
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def abstract_state(config: ModelConfig, optimizer, learning: Learning = WHOLE) -> TrainState:
    """Shapes of the state; nothing is allocated."""
    params = learning.abstract(config)
    opt_state = jax.eval_shape(optimizer.init, params)
    return TrainState(jax.ShapeDtypeStruct((), jnp.int32), params, opt_state)


def state_shardings(
    config: ModelConfig, optimizer, partitioner: partitioning.Partitioner, learning: Learning = WHOLE
) -> TrainState:
    """Shardings of the whole state: an optimizer leaf with its weight's shape has its weight's sharding."""
    axes, abstract = learning.axes(config), learning.abstract(config)
    params = partitioner.param_shardings(axes, abstract)
    by_path = {
        tuple(p): (leaf.shape, sharding)
        for (p, leaf), sharding in zip(
            jax.tree_util.tree_flatten_with_path(abstract)[0], jax.tree.leaves(params), strict=True
        )
    }

    def like_weight(path, leaf):
        for start in range(len(path)):
            shape, sharding = by_path.get(tuple(path[start:]), (None, None))
            if shape == leaf.shape:
                return sharding
        return partitioner.replicated

    opt_state = abstract_state(config, optimizer, learning).opt_state
    opt_shardings = jax.tree_util.tree_map_with_path(like_weight, opt_state)
    return TrainState(partitioner.replicated, params, opt_shardings)
