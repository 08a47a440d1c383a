"""The TPU slices one can plan for: what a chip can do, how many there are, and what an hour of one costs."""

import dataclasses
import math
import os
from typing import Any

from t5x_selfprog.machine import PEAKS, Peak
from verifier.errors import UserError


@dataclasses.dataclass(frozen=True)
class Chip:
    """One generation; of TPU7x half a chip, which is a device of its own with its own memory.

    Attributes:
      kind: the beginning of JAX's device_kind, a key of machine.PEAKS.
      hbm_bytes: memory that programs can use, as the compiler reports it when exceeded.
      clock_hz: of the core whose cycles the compiler counts.
      link_bytes_per_s: one way over a link to a neighbour ("How to scale your model", Austin et al. 2025, chapter 2).
      dcn_bytes_per_s: a chip's share of the data-centre network between slices: a pod's bandwidth by Google's
        documentation (v5e 6.4, v6e 25.6 Tbit/s) over its 256 chips; v4 and v5p as in the same chapter. TPU7x's links
        are v5p's, as its documentation has them, and both halves of a chip share them and its part of the network.
      usd_per_hour: of a chip (both halves): Google's on-demand list price in a US region (v4, v5e, v5p in 2025; v6e and
        TPU7x as its price list of September 2026 is quoted); --price overrides it.
      halves: devices of a chip.
    """

    kind: str
    hbm_bytes: float
    clock_hz: float
    link_bytes_per_s: float
    dcn_bytes_per_s: float
    usd_per_hour: float
    halves: int = 1

    @property
    def peak(self) -> Peak:
        return PEAKS[self.kind]


GIB = 2**30
CHIPS = {
    "v4": Chip("TPU v4", 30.75 * GIB, 1.05e9, 4.5e10, 6.25e9, 3.22),
    "v5e": Chip("TPU v5 lite", 15.75 * GIB, 1.5e9, 4.5e10, 3.125e9, 1.20),
    "v5p": Chip("TPU v5", 95.74 * GIB, 1.75e9, 9e10, 6.25e9, 4.20),
    "v6e": Chip("TPU v6", 31.25 * GIB, 1.75e9, 9e10, 12.5e9, 2.70),
    # The clock is not published: it is the one at which four units of 256 x 256 reach the peak, as they do for v6e.
    "tpu7x": Chip("TPU7x", 94.75 * GIB, 2.2e9, 4.5e10, 6.25e9, 12.00, halves=2),
}


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips linked directly, or several slices joined by the data-centre network.

    Attributes:
      name: as in gin/slices/NAME.gin, which holds its mesh.
      topology: chips along each axis of one slice, as the compiler spells it.
      count: number of slices.
      chips_per_host: chips (of TPU7x halves) of one virtual machine, whose `cores_per_host` CPU cores judge. Eight
        chips of v5e or v6e are one machine by Cloud TPU's own interface; only GKE also gives them as two of four.
    """

    name: str
    generation: str
    topology: str
    chips_per_host: int
    cores_per_host: int
    count: int = 1

    @property
    def chip(self) -> Chip:
        return CHIPS[self.generation]

    @property
    def chips(self) -> int:
        """Devices: of TPU7x, halves of chips."""
        return self.count * math.prod(map(int, self.topology.split("x"))) * self.chip.halves

    @property
    def hosts(self) -> int:
        return max(1, self.chips // self.chips_per_host)

    @property
    def gin_file(self) -> str:
        return f"slices/{self.name}"


# v4, v5p and TPU7x are named by cores, two of which make a chip; v5e and v6e by chips.
SLICES = {
    found.name: found
    for found in (
        Slice("v4_8", "v4", "2x2x1", 4, 240),
        Slice("v4_32", "v4", "2x2x4", 4, 240),
        Slice("v4_128", "v4", "4x4x4", 4, 240),
        Slice("v5e_4", "v5e", "2x2", 4, 112),
        Slice("v5e_8", "v5e", "2x4", 8, 224),
        Slice("v5e_16", "v5e", "4x4", 4, 112),
        Slice("v5e_32", "v5e", "4x8", 4, 112),
        Slice("v5e_64", "v5e", "8x8", 4, 112),
        Slice("v5e_64_x2", "v5e", "8x8", 4, 112, count=2),
        Slice("v5e_128", "v5e", "8x16", 4, 112),
        Slice("v5e_256", "v5e", "16x16", 4, 112),
        Slice("v5p_8", "v5p", "2x2x1", 4, 208),
        Slice("v5p_64", "v5p", "2x4x4", 4, 208),
        Slice("v5p_128", "v5p", "4x4x4", 4, 208),
        Slice("v6e_8", "v6e", "2x4", 8, 180),
        Slice("v6e_64", "v6e", "8x8", 4, 180),
        Slice("v6e_256", "v6e", "16x16", 4, 180),
        Slice("tpu7x_8", "tpu7x", "2x2x1", 8, 224),
        Slice("tpu7x_128", "tpu7x", "4x4x4", 8, 224),
    )
}


def named(name: str, *also: str) -> Slice:
    """The slice of that name. Raises UserError with the known names and what the caller takes `also`."""
    key = name.replace("-", "_")
    if key not in SLICES:
        raise UserError(f"--slice={name}: no such slice; choose {', '.join((*SLICES, *also))}.")
    return SLICES[key]


def devices(wanted: Slice) -> list:
    """The slice's devices as the compiler sees them; none of them exists here.

    Raises UserError where the TPU compiler is not installed.
    """
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        import libtpu  # noqa: F401 (its presence is what matters)
    except ImportError as error:
        raise UserError(
            "`selfprog plan` needs the TPU compiler, which is a package and needs no TPU: pip install "
            "'.[plan]' in the repository."
        ) from error
    from jax.experimental import topologies

    extra: dict[str, Any] = {"chip_config_name": "megacore"} if wanted.generation == "v4" else {}
    if wanted.count > 1:
        extra["num_slices"] = wanted.count
    topology = f"{wanted.generation}:{wanted.topology}"
    return list(topologies.get_topology_desc(platform="tpu", topology_name=topology, **extra).devices)
