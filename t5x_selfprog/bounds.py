"""Bounds of numbers, stated where the parameter is declared: `attempts: Count = 64`.

To most readers such an annotation is a plain int or float; `gin_values` checks the bounds before a run begins.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Literal


@dataclass(frozen=True)
class Bound:
    """The finite numbers from `least` to `most`, with the ends unless `open_least` or `open_most` exclude them."""

    least: float = -math.inf
    most: float = math.inf
    open_least: bool = False
    open_most: bool = False

    def holds(self, value: float) -> bool:
        above = value > self.least if self.open_least else value >= self.least
        below = value < self.most if self.open_most else value <= self.most
        return above and below and value not in (math.inf, -math.inf)

    def __str__(self) -> str:
        """As in `a number of at least 1`."""
        if self.most == math.inf:
            return f"{'above' if self.open_least else 'of at least'} {self.least}"
        if self.least == -math.inf:
            return f"{'below' if self.open_most else 'of at most'} {self.most}"
        if self.open_least:
            return f"above {self.least}, of at most {self.most}"
        return f"from {self.least} to {'below ' if self.open_most else ''}{self.most}"


@dataclass(frozen=True)
class OneOf:
    """The texts that a parameter may be, if they are the keys of a table and no Literal can list them."""

    choices: Collection[str]


Count = Annotated[int, Bound(least=1)]
Whole = Annotated[int, Bound(least=0)]
Seed = Annotated[int, Bound(least=0, most=2**32 - 1)]  # makes a JAX key
Positive = Annotated[float, Bound(least=0, open_least=True)]
NotNegative = Annotated[float, Bound(least=0)]
Share = Annotated[float, Bound(least=0, most=1)]
Mass = Annotated[float, Bound(least=0, most=1, open_least=True)]
Decay = Annotated[float, Bound(least=0, most=1, open_most=True)]
CountOrAll = Count | Literal[-1]
