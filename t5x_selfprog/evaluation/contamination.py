"""Whether a puzzle is one of a protected set, in the open or in disguise.

Three levels, each looser than the one before: the same normalised source; the same after names and
constants are abstracted; a run of `ngram` lexical tokens in common. Runs are looked for in function bodies,
since signatures of one answer type are alike by nature. All instances of a protected problem count. A match
names its problem, so that a rejection can be checked by eye.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from t5x_selfprog.puzzles.p3 import Problem
from t5x_selfprog.puzzles.shape import shape_id
from t5x_selfprog.puzzles.source import SourceError, body_tokens, puzzle_id

Level = Literal["exact", "abstract", "ngram"]
LEVELS: tuple[Level, ...] = ("exact", "abstract", "ngram")


@dataclass(frozen=True)
class Match:
    """`problem` is the protected problem's name; `detail` the shared tokens of an n-gram match, else ""."""

    level: Level
    problem: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.level} match with {self.problem}" + (f": {self.detail}" if self.detail else "")


class Protected:
    """An index of problems that generated puzzles must not repeat."""

    def __init__(self, problems: Iterable[Problem], *, ngram: int = 13) -> None:
        """`ngram`: tokens in a row that make a match; Brown et al. 2020, arXiv:2005.14165, take 13 words."""
        if ngram < 1:
            raise ValueError(f"ngram must be at least 1, got {ngram}")
        self._ngram = ngram
        self._exact: dict[str, str] = {}
        self._abstract: dict[str, str] = {}
        self._ngrams: dict[tuple[str, ...], str] = {}
        for problem in problems:
            for source in problem.instances:
                self._exact.setdefault(puzzle_id(source), problem.name)
                self._abstract.setdefault(shape_id(source), problem.name)
                for gram in self._grams(source):
                    self._ngrams.setdefault(gram, problem.name)

    def match(self, source: str, *, upto: Level = "ngram") -> Match | None:
        """The strictest match of the levels up to `upto`; None for none, and for text that is not Python."""
        return next(self._matches(source, LEVELS[: LEVELS.index(upto) + 1]), None)

    def matches(self, source: str) -> list[Match]:
        """At most one match of each level, strictest first."""
        return list(self._matches(source, LEVELS))

    def _matches(self, source: str, levels: tuple[Level, ...]) -> Iterator[Match]:
        find = {"exact": self._match_exact, "abstract": self._match_abstract, "ngram": self._match_ngram}
        for level in levels:
            try:
                match = find[level](source)
            except SourceError:
                return
            if match is not None:
                yield match

    def _match_exact(self, source: str) -> Match | None:
        problem = self._exact.get(puzzle_id(source))
        return Match("exact", problem) if problem is not None else None

    def _match_abstract(self, source: str) -> Match | None:
        problem = self._abstract.get(shape_id(source))
        return Match("abstract", problem) if problem is not None else None

    def _match_ngram(self, source: str) -> Match | None:
        shared = next((gram for gram in self._grams(source) if gram in self._ngrams), None)
        return Match("ngram", self._ngrams[shared], " ".join(shared)) if shared is not None else None

    def _grams(self, source: str) -> Iterator[tuple[str, ...]]:
        tokens = body_tokens(source)
        for i in range(len(tokens) - self._ngram + 1):
            yield tuple(tokens[i : i + self._ngram])
