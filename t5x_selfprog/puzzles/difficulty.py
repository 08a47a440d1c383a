"""How hard each puzzle was for the model that tried it, and what there is to learn from it.

A puzzle that is always solved teaches nothing any more, one that is never solved nothing yet: what is learnable is p(1
- p), the variance of success (Florensa et al. 2018, arXiv:1705.06366, on goals of intermediate difficulty). With few
attempts p itself is uncertain, so the expectation under Jeffreys' posterior Beta(c + 1/2, n - c + 1/2) is used: after 0
of 8 there is still something to learn, after 0 of 800 next to nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from t5x_selfprog.interval import Interval
from verifier.storage import files

_Z = 1.959964  # of a 95% interval


@dataclass(frozen=True)
class Difficulty:
    """A puzzle for one checkpoint: `accepted` of `tried` attempts. Attempts that could not be judged count in
    neither."""

    puzzle_id: str
    source: str
    checkpoint: str
    accepted: int
    tried: int

    @property
    def rate(self) -> Interval:
        """The solve rate with Wilson's interval; (0, 0, 1) without attempts."""
        if not self.tried:
            return Interval(0.0, 0.0, 1.0)
        n, p = self.tried, self.accepted / self.tried
        centre, spread = p + _Z**2 / (2 * n), _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n * n))
        scale = 1 + _Z**2 / n
        return Interval(p, max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale))

    @property
    def learnability(self) -> float:
        """The expectation of 4 p (1 - p), in (0, 1]."""
        return learnability(self.accepted, self.tried)

    def as_dict(self) -> dict[str, Any]:
        rate = self.rate.as_dict("rate")
        about = {"puzzle_id": self.puzzle_id, "checkpoint": self.checkpoint}
        counts = {"accepted": self.accepted, "tried": self.tried}
        return about | counts | rate | {"learnability": self.learnability}


def learnability(accepted: int, tried: int) -> float:
    a, b = accepted + 0.5, tried - accepted + 0.5
    return 4 * a * b / ((a + b) * (a + b + 1))


def difficulties(verdicts: Iterable[Mapping[str, Any]]) -> list[Difficulty]:
    """One entry per puzzle, in order of appearance, from verdict records."""
    found: dict[str, list[Any]] = {}
    for verdict in verdicts:
        entry = found.setdefault(verdict["puzzle_id"], [verdict["puzzle"], verdict["checkpoint"] or "", 0, 0])
        if verdict["outcome"] != "infrastructure":
            count = verdict.get("count") or 1
            entry[2] += count * (verdict["outcome"] == "accepted")
            entry[3] += count
    return [Difficulty(puzzle_id, *entry) for puzzle_id, entry in found.items()]


def write(path: str, found: Iterable[Difficulty]) -> None:
    """The store of one iteration: a line of JSON per puzzle, without its source."""
    files.write_atomic(path, "".join(json.dumps(one.as_dict()) + "\n" for one in found).encode())
