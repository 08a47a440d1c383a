"""Starts JAX's devices, and says what is missing if they do not start."""

from __future__ import annotations

import glob
import os
import platform

import jax

from verifier.errors import UserError

_WHEELS = {
    "cuda": "cuda",
    "gpu": "cuda",
    "tpu": "tpu",
}  # JAX's platforms, and our extras that install them


def require_devices() -> list[jax.Device]:
    """All devices. Raises UserError saying what to install if the requested platform is missing."""
    asked = os.environ.get("JAX_PLATFORMS", "")
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter if the platform's plugin is not installed
        wanted = next((extra for name, extra in _WHEELS.items() if name in asked.split(",")), "")
        if wanted:
            remedy = f"SELFPROG_EXTRAS={wanted} scripts/setup installs what it takes"
            if wanted == "cuda" and not gpu_is_there():
                remedy = "no NVIDIA GPU is to be seen here (/dev/nvidia0), and its driver must be there first"
        else:
            remedy = "give cpu, cuda or tpu, or leave it unset"
        reason = f" ({str(error).strip().splitlines()[0]})" if str(error).strip() else ""
        raise UserError(f"JAX_PLATFORMS={asked}: JAX finds no such device{reason}; {remedy}") from error


def gpu_is_there() -> bool:
    """Whether the machine has an NVIDIA GPU, whether or not JAX sees it."""
    return bool(glob.glob("/dev/nvidia[0-9]*"))


def unused_gpu(used: str) -> str:
    """What to do about a GPU that JAX does not use; "" if there is none, or JAX_PLATFORMS=cpu makes it deliberate."""
    if used != "cpu" or not gpu_is_there() or os.environ.get("JAX_PLATFORMS", "") == "cpu":
        return ""
    if platform.machine() not in ("x86_64", "aarch64"):
        return ""
    return (
        "this machine has an NVIDIA GPU that JAX does not use: SELFPROG_EXTRAS=cuda scripts/setup installs what it "
        "takes, and JAX_PLATFORMS=cpu says that it is on purpose"
    )
