"""The programs of a policy gradient: its step, and what the base thinks of the tokens that were sampled.

The stages that learn from verdicts run them, and `plan` compiles them for slices that are not here.
"""

import functools

import jax

from t5x_selfprog.device_program import DeviceProgram
from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import Partitioner
from t5x_selfprog.training.cross_entropy import target_log_probabilities
from t5x_selfprog.training.learning import Learning, Loss
from t5x_selfprog.training.loop_config import LoopConfig
from t5x_selfprog.training.policy_gradient import PolicyGradient, Rollouts, policy_loss
from t5x_selfprog.training.training_programs import TrainingPrograms


def loss_of(objective: PolicyGradient) -> Loss:
    """The loss of a step, for `TrainingTask.objective`."""
    return functools.partial(policy_loss, objective)


def policy_programs(
    loop: LoopConfig,
    config: ModelConfig,
    partitioner: Partitioner,
    num_steps: int,
    learning: Learning,
    objective: PolicyGradient,
) -> TrainingPrograms:
    """config: in the type that it computes in."""
    return TrainingPrograms(loop, config, partitioner, num_steps, learning, loss_of(objective), Rollouts)


def base_log_probs(loop: LoopConfig, config: ModelConfig, partitioner: Partitioner) -> DeviceProgram:
    """(the base's weights, rollouts) -> the log-probability of each target, [B, L] float32.

    config: in the type that it computes in.
    """
    options = loop.forward_options(config)

    def log_probs(params: network.Params, batch: Rollouts) -> jax.Array:
        hidden = network.forward(config, params, batch.tokens, batch.positions, batch.segment_ids, **options)
        return target_log_probabilities(config, (params, hidden), batch.targets, loop.loss_chunk)

    return DeviceProgram("log-probabilities of the base", log_probs, partitioner=partitioner)
