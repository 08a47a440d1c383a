"""Peak rates of known devices, memory use, and out-of-memory errors that name a remedy."""

import contextlib
import dataclasses
import resource
from collections.abc import Iterator

import jax

from verifier.errors import UserError


@dataclasses.dataclass(frozen=True)
class Peak:
    """One device, according to its maker's data sheet.

    Attributes:
      bytes_per_s: memory bandwidth.
      flops_per_s: rate of dense bfloat16 matrix products, counting multiply and add separately.
    """

    bytes_per_s: float
    flops_per_s: float


# By prefix of JAX's device_kind; a longer prefix comes before one that it begins with.
PEAKS = {
    "NVIDIA H200": Peak(4.8e12, 989e12),
    "NVIDIA H100 PCIe": Peak(2.0e12, 756e12),
    "NVIDIA H100": Peak(3.35e12, 989e12),
    "NVIDIA A100": Peak(2.0e12, 312e12),
    "TPU v4": Peak(1.228e12, 275e12),
    "TPU v5 lite": Peak(8.19e11, 197e12),
    "TPU v5": Peak(2.765e12, 459e12),
    "TPU v6": Peak(1.64e12, 918e12),
    "TPU7x": Peak(3.69e12, 1153.5e12),  # half a chip: JAX sees each of its two cores as a device
}


def peak(device_kind: str | None = None) -> Peak | None:
    """The peaks of a kind of device, by default the first one here; None if it is not in the table."""
    kind = jax.devices()[0].device_kind if device_kind is None else device_kind
    return next((found for name, found in PEAKS.items() if kind.startswith(name)), None)


def memory() -> dict[str, float]:
    """Peak GiB of the process, and of the first device if that is recorded."""
    statistics = jax.devices()[0].memory_stats() or {}
    return {
        "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "peak_device_gb": statistics.get("peak_bytes_in_use", 0) / 2**30,
    }


@contextlib.contextmanager
def naming_memory(what: str, remedy: str) -> Iterator[None]:
    """Turns a device's out-of-memory error into a UserError: what needed memory, how much there is, what to lower.

    Args:
      what: the program, and what it must hold.
      remedy: a sentence naming settings.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        limit = (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
        there_is = f" Each device has {gib(limit)}." if limit else ""
        raise UserError(
            f"Out of memory in {what}: {str(error).splitlines()[0]}{there_is} {remedy}"
        ) from error


def gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
