"""The arithmetic that training takes, and the share of the devices' best that it reaches."""

import functools

import jax

from t5x_selfprog import machine
from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig


@functools.cache
def train_flops_per_token(config: ModelConfig, length: int) -> float:
    """Multiply-adds counted twice: 6 a weight (forward 2, backward 4), and causal attention's two products."""
    weights = network.num_params(config)
    if config.head == "separate":
        weights -= config.vocab_size * config.embed_dim  # a lookup, no product
    attention = 6 * config.num_layers * config.num_heads * config.head_dim * length
    return 6 * weights + attention


def mfu(config: ModelConfig, length: int, tokens_per_s: float) -> float | None:
    """Model FLOPs utilization: of all devices' peak in bfloat16; None where the data sheet is not known.

    tokens_per_s: on all devices together. Padding is no token, and recomputed activations are no model FLOPs.
    """
    peak = machine.peak()
    if peak is None:
        return None
    return tokens_per_s * train_flops_per_token(config, length) / jax.device_count() / peak.flops_per_s
