"""Has a base model seen the test puzzles? Compares their likelihood with that of twins that nobody can have seen.

A twin is the same puzzle with its arguments and variables renamed. A model that merely reads Python finds the original
a little likelier, since its author chose fitting names; one that remembers it finds it a lot likelier. Puzzles that the
model cannot have seen (our own seeds) show how much "a little" is: the preference for the test puzzles is compared with
theirs. The comparison of likelihoods follows Carlini et al. 2021, arXiv:2012.07805.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t5x_selfprog.interval import Interval
from t5x_selfprog.puzzles.scopes import Scope, occurrences
from t5x_selfprog.puzzles.source import SourceError, parse, unparse

Score = Callable[[Sequence[str]], Sequence[float]]
"""Log-likelihood of each text, in nats; NaN for one that does not fit the model."""

_NAMES = (
    "a b c d e h i j k m n p q r s t u v w x y z li arr nums vals words text item items val res out cur acc tmp "
    "total count idx pos left right first second start end key num size limit target pattern letters digits"
).split()
_TAKEN = {*dir(builtins), *keyword.kwlist}
_RESAMPLES = 10_000


def twins(source: str, count: int) -> list[str]:
    """Up to `count` different rewritings of a puzzle; the same source gives the same twins.

    The function stays `f`; the layout is that of `ast.unparse`, so compare with `canonical(source)`. Empty where the
    puzzle cannot be rewritten.
    """
    draw = random.Random(source)
    found: dict[str, None] = {}
    for _ in range(3 * count):
        try:
            text = _renamed(source, draw)
        except SourceError:
            return []
        if text != canonical(source):
            found.setdefault(text)
        if len(found) == count:
            break
    return list(found)


def canonical(source: str) -> str:
    return unparse(parse(source))


def _renamed(source: str, draw: random.Random) -> str:
    tree = parse(source)
    places = occurrences(tree)
    kept = {place.name for place in places if place.owner is None} | {"f"} | _TAKEN
    pool = [name for name in _NAMES if name not in kept]
    draw.shuffle(pool)
    renamed: dict[tuple[Scope, str], str] = {}
    for place in places:
        owner = place.owner
        if owner is None or owner.kind == "module" or not place.field:
            continue
        if (owner, place.name) not in renamed:
            if not pool:
                raise SourceError("more variables than names to call them by")
            renamed[owner, place.name] = pool.pop()
        setattr(place.node, place.field, renamed[owner, place.name])
    return unparse(ast.fix_missing_locations(tree))


@dataclass(frozen=True)
class Memory:
    """Preferences in nats per puzzle: log-likelihood of the original minus the twins' mean.

    `excess` is the test puzzles' mean preference minus the controls'.
    """

    tested: int
    controls: int
    preference: float
    control_preference: float
    excess: Interval

    @property
    def claim(self) -> str:
        """ "remembers" only where the interval of the excess lies above zero."""
        return "remembers some" if self.excess.low > 0 else "no memory shown"

    def as_dict(self) -> dict[str, Any]:
        return {
            "tested": self.tested,
            "controls": self.controls,
            "preference_nats": self.preference,
            "control_preference_nats": self.control_preference,
            "excess_nats": self.excess.as_dict(),
            "claim": self.claim,
        }


def examine(
    test: Sequence[str], control: Sequence[str], score: Score, *, count: int = 4, seed: int = 0
) -> Memory:
    """Compares test puzzles with controls. Raises ValueError where fewer than two of either can be scored."""
    mine, theirs = preferences(test, score, count), preferences(control, score, count)
    if min(len(mine), len(theirs)) < 2:
        raise ValueError(
            f"{len(mine)} test puzzles and {len(theirs)} controls could be scored; both need two"
        )
    rng = np.random.default_rng(seed)
    drawn = _means(mine, rng) - _means(theirs, rng)
    estimate = float(mine.mean() - theirs.mean())
    low, high = np.quantile(drawn, [0.025, 0.975])
    excess = Interval(estimate, float(min(low, estimate)), float(max(high, estimate)))
    return Memory(len(mine), len(theirs), float(mine.mean()), float(theirs.mean()), excess)


def preferences(sources: Sequence[str], score: Score, count: int) -> NDArray[np.float64]:
    """One number for each puzzle that has twins and fits the model."""
    groups = [[canonical(source), *made] for source in sources if (made := twins(source, count))]
    flat = np.asarray(score([text for group in groups for text in group]), np.float64)
    found, at = [], 0
    for group in groups:
        own, *others = flat[at : at + len(group)]
        at += len(group)
        value = own - np.mean(others)
        if np.isfinite(value):
            found.append(value)
    return np.asarray(found)


def _means(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    return values[rng.integers(len(values), size=(_RESAMPLES, len(values)))].mean(1)
