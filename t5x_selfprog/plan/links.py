"""Which devices take part in a collective, from the program's text, and over how many links each receives its data.

A dimension along which a slice spans a whole pod is closed into a ring; in smaller slices it is a line, and a chip at
the end of a line has one link along it, a chip in the middle two. A collective ends when the last chip has its part, so
the chip with the fewest links counts: v5e-64 is 8 x 8 without a ring, and its corners have two links of four.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

_MESH = re.compile(r"replica_groups=mesh\[([^\]]*)\](?:, ?device_ids=\(([^ {]*)\))? ?\{([^}]*)\}")
_MESH_AXIS = re.compile(r"'?(\w+)'?=(\d+)")
_PART = re.compile(r"'?([A-Za-z_]\w*)'?(?::\((\d+)\)(\d+))?")
_IOTA = re.compile(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_LISTED = re.compile(r"replica_groups=\{\{([\d,]+)\}")


@dataclasses.dataclass(frozen=True)
class Wires:
    """The links of a slice.

    Attributes:
      places: coordinates of each device, in the program's order.
      sizes: chips along each dimension.
      rings: whether each dimension is closed.
    """

    places: Sequence[tuple[int, ...]]
    sizes: tuple[int, ...]
    rings: tuple[bool, ...]

    @staticmethod
    def of(devices: Sequence[Any]) -> "Wires":
        """From a program's devices in its order: one slice, or several of one shape."""
        places, (kind, *_) = (
            [tuple(device.coords) for device in devices],
            [device.device_kind for device in devices],
        )
        sizes = tuple(1 + max(along) for along in zip(*places, strict=True))
        return Wires(places, sizes, rings(kind, sizes))

    def links(self, group: Sequence[int]) -> int:
        """The number of links over which this group's data reaches the chip with the fewest."""
        places = [self.places[device] for device in group if device < len(self.places)]
        found = 0
        for axis, (size, ring) in enumerate(zip(self.sizes, self.rings, strict=True)):
            taken = len({place[axis] for place in places})
            if taken > 1:
                found += 2 if ring and taken == size and size > 2 else 1
        return max(1, found)


def rings(kind: str, sizes: tuple[int, ...]) -> tuple[bool, ...]:
    """Which dimensions of a slice are closed, by JAX's name for the chip.

    v5e and v6e (2-D): those of a whole pod, 16 chips long. v4 and v5p (3-D): all of them, in slices made of whole cubes
    of 4 x 4 x 4 ("TPU v4", Jouppi et al. 2023; "How to scale your model", Austin et al. 2025, chapter 2).
    """
    if "lite" in kind:
        return tuple(size == 16 for size in sizes)
    cubes = all(size % 4 == 0 for size in sizes)
    return tuple(cubes for _ in sizes)


def first_group(line: str) -> list[int] | None:
    """The devices of the first group of an operation, or None where the line names none."""
    if found := _MESH.search(line):
        sizes = {name: int(size) for name, size in _MESH_AXIS.findall(found[1])}
        return _of_mesh(sizes, found[2] or "", found[3])
    if found := _IOTA.search(line):
        return _iota(found[3], found[4]).reshape(int(found[1]), int(found[2]))[0].tolist()
    if found := _LISTED.search(line):
        return [int(device) for device in found[1].split(",")]
    return None


def _of_mesh(sizes: dict[str, int], order: str, parts: str) -> list[int]:
    """The devices that differ only along these axes of a named mesh, or parts of axes ('x':(2)4)."""
    split: list[int] = []
    varies: list[bool] = []
    wanted = {name: (int(before or 1), int(size or 0)) for name, before, size in _PART.findall(parts)}
    for name, size in sizes.items():
        before, part = wanted.get(name, (1, 1))
        part = part or size  # the whole axis
        split += [before, part, size // (before * part)]
        varies += [False, name in wanted, False]
    devices = np.arange(math.prod(sizes.values()))
    if found := re.fullmatch(r"\[[\d,]+\](?:<=\[([\d,]+)\])?(?:T\(([\d,]+)\))?", order):
        devices = _iota(found[1], found[2]).reshape(-1) if found[1] else devices
    grid = devices.reshape(split)
    return grid[tuple(slice(None) if free else 0 for free in varies)].reshape(-1).tolist()


def _iota(sizes: str, transposed: str | None) -> np.ndarray:
    dimensions = [int(size) for size in sizes.split(",")]
    counted = np.arange(math.prod(dimensions)).reshape(dimensions)
    return counted.transpose([int(axis) for axis in transposed.split(",")]) if transposed else counted
