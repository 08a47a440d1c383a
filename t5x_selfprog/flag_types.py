"""Argparse types for numbers with bounds; a refusal says what the number must be."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from t5x_selfprog.bounds import Bound

T = TypeVar("T", int, float)


def whole(bound: Bound) -> Callable[[str], int]:
    """The function with which argparse turns a flag's word into an int."""

    def read(word: str) -> int:
        return _within(word, int, "a whole number", bound)

    return read


def number(bound: Bound) -> Callable[[str], float]:
    def read(word: str) -> float:
        return _within(word, float, "a number", bound)

    return read


def _within(word: str, kind: type[T], what: str, bound: Bound) -> T:
    try:
        value = kind(word)
    except ValueError:
        value = None
    if value is None or not bound.holds(value):  # NaN satisfies no bound
        raise argparse.ArgumentTypeError(f"must be {what} {bound}, not {word!r}")
    return value


COUNT = whole(Bound(least=1))
WHOLE = whole(Bound(least=0))
PORTION = number(Bound(least=0, most=1, open_least=True))
NOT_NEGATIVE = number(Bound(least=0))
GAIN = number(Bound(least=-1, most=1))
