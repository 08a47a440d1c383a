"""Weights between those that training began with and those that it ended with.

Few pairs teach a model the form of an answer at once, and soon after make it forget other answers: its first attempt
becomes right more often, a hundred attempts solve less. Part of the way between the two sets of weights keeps most of
what was learnt and most of what was known (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models",
arXiv:2109.01903), and costs neither a step nor a forward pass.
"""

import jax
import jax.numpy as jnp

from t5x_selfprog.device_program import DeviceProgram
from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig
from t5x_selfprog.partitioning import Partitioner


def interpolation(config: ModelConfig, share: float, partitioner: Partitioner) -> DeviceProgram:
    """The program (weights before, weights after) -> weights `share` of the way, in float32 as they are trained.

    It consumes the weights after.
    """

    def between(before: network.Params, after: network.Params) -> network.Params:
        def weight(old: jax.Array, new: jax.Array) -> jax.Array:
            old = old.astype(jnp.float32)
            return old + share * (new - old)

        return jax.tree.map(weight, before, after)

    shapes = network.abstract_params(config)
    return DeviceProgram(
        "interpolate weights",
        between,
        donate=1,
        out_shardings=partitioner.param_shardings(network.logical_axes(config), shapes),
        partitioner=partitioner,
    )
