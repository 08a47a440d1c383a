"""The default compute type of a model: the published one, unless the device would have to emulate it.

A CPU without bfloat16 units widens and rounds every number of a bfloat16 product in software: a training step of 512
tokens at 135M weights took 20 s on two cores, several times as long as in float32.
"""

import dataclasses
import functools
import sys

import jax

from t5x_selfprog import hosts
from t5x_selfprog.model.config import ModelConfig

UNITS = {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}  # as /proc/cpuinfo names them on x86 and ARM


def on_this_device(config: ModelConfig, instead: str) -> ModelConfig:
    """The configuration with the compute type that suits this device; reports a change from the published type.

    Args:
      instead: how to keep the published type anyway, for the message.
    """
    if config.dtype != "bfloat16" or jax.default_backend() != "cpu" or has_bfloat16_units():
        return config
    _say(instead)
    return dataclasses.replace(config, dtype="float32")


@functools.cache
def has_bfloat16_units(cpuinfo: str = "/proc/cpuinfo") -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; False where that cannot be read (not on Linux)."""
    try:
        with open(cpuinfo, encoding="ascii", errors="replace") as file:
            lines = [line.partition(":") for line in file]
    except OSError:
        return False
    words = {
        word for name, _, said in lines if name.strip() in ("flags", "Features") for word in said.split()
    }
    return bool(words & UNITS)


@functools.cache
def _say(instead: str) -> None:
    """Prints each message once per process."""
    if hosts.is_first():
        print(
            f"This CPU has no bfloat16 units: a bfloat16 model computes in float32 here, which is quicker ({instead}).",
            file=sys.stderr,
        )
