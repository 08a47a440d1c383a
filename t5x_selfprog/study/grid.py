"""The runs of a study: every combination of its axes' levels, named, the most informative first.

An axis is a name with labelled levels, each a list of gin bindings on top of the study's gin file. In gin they are
pairs, because gin sorts the keys of a mapping when it writes one, and the order of levels matters:

    (("base", (("small", ()), ("large", ("Experiment.base='runs/base/model'",)))),
     ("data", (("all", ()), ("300", ("Selection.max_pairs=300",)))))

Seeds are a separate axis. One seed of everything comes before a second seed of anything, and within a seed the ends of
the axes before their middles: a study stopped early is a smaller study, not half of one.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verifier.errors import UserError

Axes = Mapping[str, Mapping[str, Sequence[str]]]

SEED = "seed"


def axes_of(pairs: Axes | Iterable[tuple[str, Any]]) -> dict[str, dict[str, Sequence[str]]]:
    """Axes from pairs or from mappings. Raises UserError for anything else."""
    try:
        return {
            axis: {str(label): tuple(level) for label, level in dict(labelled).items()}
            for axis, labelled in dict(pairs).items()
        }
    except (TypeError, ValueError) as error:
        raise UserError(
            f"study.run.axes: must be pairs of a name and its labelled levels ({error})"
        ) from error


@dataclass(frozen=True)
class Cell:
    """One run: `levels` are (axis, label) without the seed; `bindings` as given to `--gin.`; `suffix` ends its name."""

    levels: tuple[tuple[str, str], ...]
    seed: int
    bindings: tuple[str, ...]
    suffix: str = ""

    @property
    def name(self) -> str:
        """A folder's name, such as base-small_data-all_seed-0."""
        words = [f"{axis}-{label}" for axis, label in (*self.levels, (SEED, str(self.seed)))]
        return "_".join(words) + self.suffix


def cells(axes: Axes, seeds: Sequence[int], common: Sequence[str] = ()) -> list[Cell]:
    """Every combination, the most informative first.

    Raises UserError for a name that no folder can have, an axis without levels, or no seeds.
    """
    for axis, labelled in axes.items():
        if not labelled:
            raise UserError(f"study.run.axes: axis {axis!r} has no levels")
        for word in (axis, *labelled):
            if not re.fullmatch(r"[A-Za-z0-9.]+", str(word)):
                raise UserError(
                    f"study.run.axes: {word!r} must be letters, digits and dots: it names a folder"
                )
    if SEED in axes:
        raise UserError("study.run.axes: seeds are given by study.run.seeds")
    if not seeds:
        raise UserError("study.run.seeds: there must be at least one")
    found = []
    for number, seed in enumerate(seeds):
        for chosen in itertools.product(*(list(labelled.items()) for labelled in axes.values())):
            levels = tuple((axis, str(label)) for axis, (label, _) in zip(axes, chosen, strict=True))
            bindings = [*common, *(b for _, level in chosen for b in level), f"Experiment.seed={seed}"]
            middles = sum(
                label not in (next(iter(axes[axis])), list(axes[axis])[-1])
                for axis, (label, _) in zip(axes, chosen, strict=True)
            )
            found.append((number, middles, Cell(levels, seed, tuple(bindings))))
    # The sort is stable: ties keep the order of the file.
    return [cell for *_, cell in sorted(found, key=lambda item: item[:2])]


def in_file_order(grid: Sequence[Cell], axes: Axes) -> list[Cell]:
    """In reading order: levels as in the file, seeds last."""
    places = {axis: {str(label): i for i, label in enumerate(labelled)} for axis, labelled in axes.items()}
    return sorted(grid, key=lambda cell: [places[axis][label] for axis, label in cell.levels])
