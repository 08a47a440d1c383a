"""The programs of a training run, described by its settings: the loop runs them, the bench times the step, and `plan`
compiles it for slices that are not here."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from t5x_selfprog.device_program import DeviceProgram
from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.model.orbax_restore import abstract_like
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.training.batches import Batch
from t5x_selfprog.training.learning import WHOLE, Learning, Loss
from t5x_selfprog.training.loop_config import LoopConfig
from t5x_selfprog.training.optimizers import make_optimizer, make_schedule
from t5x_selfprog.training.train_step import TrainState, loss_sums, make_train_step

FLOATS = ("weights", "counts", "old", "advantages", "base")  # fields of batches; the others hold int32


@dataclasses.dataclass(frozen=True)
class TrainingPrograms:
    """One run's programs on one mesh.

    Attributes:
      config: the model, in the type that it computes in (`LoopConfig.computing`).
      num_steps: updates over which the learning rate goes; the step contains it as a constant.
      batches: the kind of a batch that `objective` takes.
    """

    loop: LoopConfig
    config: ModelConfig
    partitioner: Partitioner
    num_steps: int
    learning: Learning = WHOLE
    objective: Loss = loss_sums
    batches: type = Batch

    def step(self) -> DeviceProgram:
        """(state, batch, frozen weights) -> (state, metrics). Consumes the state."""
        function = make_train_step(
            self.config,
            self.optimizer,
            accumulate=self.loop.accumulate,
            loss_chunk=self.loop.loss_chunk,
            weights=self.learning.params,
            loss=self.objective,
            **self.loop.forward_options(self.config),
        )
        return DeviceProgram(
            "train step",
            function,
            donate=0,
            in_shardings=(self.shardings, None, None),
            out_shardings=(self.shardings, None),
            partitioner=self.partitioner,
        )

    def step_of(self, batch_size: int, length: int) -> DeviceProgram:
        """`step` for packed rows, by shapes alone; the learning's frozen weights may be shapes, too."""
        return self.step().of(self.state_shape(), self.batch_shape(batch_size, length), self.learning.frozen)

    def heldout(self) -> DeviceProgram:
        """(weights, batch, frozen weights) -> `loss_sums`."""
        options = self.loop.forward_options(self.config)
        return DeviceProgram(
            "held-out loss",
            lambda params, batch, frozen: loss_sums(
                self.config, self.learning.params(params, frozen), batch, self.loop.loss_chunk, **options
            ),
            partitioner=self.partitioner,
        )

    def copy(self) -> DeviceProgram:
        """Trainable weights -> their copy in the layout of the state."""
        return DeviceProgram(
            "copy weights",
            lambda params: jax.tree.map(jnp.copy, params),
            out_shardings=self.shardings.params,
            partitioner=self.partitioner,
        )

    def moments(self) -> DeviceProgram:
        """Trainable weights -> the optimizer's first state."""
        return DeviceProgram(
            "optimizer state",
            self.optimizer.init,
            out_shardings=self.shardings.opt_state,
            partitioner=self.partitioner,
        )

    def fresh(self) -> DeviceProgram:
        """A random key -> the state before the first step, with random weights; for a whole model."""
        return DeviceProgram(
            "fresh state",
            functools.partial(fresh_state, self.config, self.optimizer),
            out_shardings=self.shardings,
            partitioner=self.partitioner,
        )

    # Shapes and layouts.

    @functools.cached_property
    def optimizer(self) -> optax.GradientTransformation:
        schedule = make_schedule(self.loop.optimizer, self.num_steps)
        return make_optimizer(self.loop.optimizer, schedule, self.learning.axes(self.config))

    @functools.cached_property
    def shardings(self) -> TrainState:
        return state_shardings(self.config, self.optimizer, self.partitioner, self.learning)

    @functools.cached_property
    def by_rows(self) -> jax.sharding.NamedSharding:
        """The layout of a batch's fields."""
        return self.partitioner.sharding(("batch", "length"), activation=True)

    def state_shape(self) -> TrainState:
        """Shapes of the state, with its layout."""
        return abstract_like(abstract_state(self.config, self.optimizer, self.learning), self.shardings)

    def batch_shape(self, batch_size: int, length: int) -> Any:
        """Shapes of a batch of packed rows, with its layout."""
        fields: tuple[str, ...] = self.batches._fields  # type: ignore[attr-defined]
        return self.batches(
            **{
                name: jax.ShapeDtypeStruct(
                    (batch_size, length), jnp.float32 if name in FLOATS else jnp.int32, sharding=self.by_rows
                )
                for name in fields
            }
        )


def fresh_state(config: ModelConfig, optimizer: optax.GradientTransformation, key: jax.Array) -> TrainState:
    """The state before the first step: freshly initialised weights."""
    params = network.init(config, key)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def abstract_state(config: ModelConfig, optimizer, learning: Learning = WHOLE) -> TrainState:
    """Shapes of the state; nothing is allocated."""
    params = learning.abstract(config)
    opt_state = jax.eval_shape(optimizer.init, params)
    return TrainState(jax.ShapeDtypeStruct((), jnp.int32), params, opt_state)


def state_shardings(
    config: ModelConfig, optimizer, partitioner: Partitioner, learning: Learning = WHOLE
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
