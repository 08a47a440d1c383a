"""Starting JAX's devices, and saying what is missing where they do not start."""

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
}  # a platform of JAX, and the extra of ours that brings it


def require_devices() -> list[jax.Device]:
    """All devices. Raises UserError saying what to install where the platform that was asked for is not there."""
    asked = os.environ.get("JAX_PLATFORMS", "")
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where the platform's plugin is not installed
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
    """Whether the machine has an NVIDIA GPU, whatever JAX thinks."""
    return bool(glob.glob("/dev/nvidia[0-9]*"))


def unused_gpu(used: str) -> str:
    """What to do about a GPU that JAX passes by; "" where there is none, or JAX_PLATFORMS=cpu says it is on purpose."""
    if used != "cpu" or not gpu_is_there() or os.environ.get("JAX_PLATFORMS", "") == "cpu":
        return ""
    if platform.machine() not in ("x86_64", "aarch64"):
        return ""
    return (
        "this machine has an NVIDIA GPU that JAX does not use: SELFPROG_EXTRAS=cuda scripts/setup installs what it "
        "takes, and JAX_PLATFORMS=cpu says that it is on purpose"
    )
