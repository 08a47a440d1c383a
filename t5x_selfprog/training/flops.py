"""The arithmetic that training takes, and its share of the devices' peak (MFU)."""

import functools

import jax

from t5x_selfprog import machine
from t5x_selfprog.model import network
from t5x_selfprog.model.config import ModelConfig


@functools.cache
def train_flops_per_token(config: ModelConfig, length: int) -> float:
    """Model FLOPs, a multiply-add counted as two: 6 per weight (forward 2, backward 4), plus causal attention."""
    weights = network.num_params(config)
    if config.head == "separate":
        weights -= config.vocab_size * config.embed_dim  # a lookup, not a product
    attention = 6 * config.num_layers * config.num_heads * config.head_dim * length
    return 6 * weights + attention


def mfu(config: ModelConfig, length: int, tokens_per_s: float) -> float | None:
    """Model FLOPs utilization relative to all devices' bfloat16 peak; None for a device of unknown peak.

    Args:
      tokens_per_s: on all devices together, without padding. Recomputed activations do not count as model FLOPs.
    """
    peak = machine.peak()
    if peak is None:
        return None
    return tokens_per_s * train_flops_per_token(config, length) / jax.device_count() / peak.flops_per_s
