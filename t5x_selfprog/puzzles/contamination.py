"""Whether a puzzle is one of a protected set, in the open or in disguise.

Four levels, each looser than the one before: the same normalised source; the same after names and constants are
abstracted; the same canonical form (`canonical.py`: the order of operands, the direction of comparisons, negations,
`bool()`, variables used once and the like forgotten as well), also with constants in place of parameters; a run of
tokens in common, of `ngram` lexical tokens or of `outline` tokens of the canonical form, in which all names are alike.
Runs are sought in function bodies, since signatures of one answer type are alike by nature. All instances of a
protected problem count. A match names its problem, so that a rejection can be checked by eye. `puzzles/behaviour.py`
compares what puzzles do.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

from t5x_selfprog.puzzles.canonical import canonical_form, outline_tokens
from t5x_selfprog.puzzles.p3 import Problem
from t5x_selfprog.puzzles.shape import shape_id
from t5x_selfprog.puzzles.source import SourceError, body_tokens, puzzle_id

K = TypeVar("K")
V = TypeVar("V")
Level = Literal["exact", "abstract", "canonical", "ngram"]
LEVELS: tuple[Level, ...] = ("exact", "abstract", "canonical", "ngram")


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

    def __init__(self, problems: Iterable[Problem], *, ngram: int = 13, outline: int = 20) -> None:
        """
        Args:
          ngram: lexical tokens in a row that make a match; Brown et al. 2020, arXiv:2005.14165, take 13 words.
          outline: the same for the outline, which has fewer different words and repeats itself more; with 20, one of
            200 puzzles that models wrote has a run in common with P3's held-out problems (results/firewall).
        """
        if min(ngram, outline) < 1:
            raise ValueError(f"ngram and outline must be at least 1, got {ngram} and {outline}")
        self._ngram, self._outline = ngram, outline
        sources = [(source, problem.name) for problem in problems for source in problem.instances]
        self._exact = _first((puzzle_id(source), name) for source, name in sources)
        # Source and name by shape: most instances of a problem differ in constants alone.
        self._abstract = _first((shape_id(source), (source, name)) for source, name in sources)
        self._sources = sources

    # The looser levels take most of the time, and a filter may not ask for them.

    @functools.cached_property
    def _canonical(self) -> dict[str, str]:
        return _first(
            (form, name) for source, name in self._abstract.values() for form in _canonical_forms(source)
        )

    @functools.cached_property
    def _ngrams(self) -> dict[tuple[str, ...], str]:
        return _first((gram, name) for source, name in self._sources for gram in self._grams(source))

    @functools.cached_property
    def _outlines(self) -> dict[tuple[str, ...], str]:
        shapes = self._abstract.values()
        return _first((gram, name) for source, name in shapes for gram in self._outline_grams(source))

    def match(self, source: str, *, upto: Level = "ngram") -> Match | None:
        """The strictest match of the levels up to `upto`; None for none, and for text that is not Python."""
        return next(self._matches(source, LEVELS[: LEVELS.index(upto) + 1]), None)

    def matches(self, source: str) -> list[Match]:
        """At most one match of each level, strictest first."""
        return list(self._matches(source, LEVELS))

    def _matches(self, source: str, levels: tuple[Level, ...]) -> Iterator[Match]:
        find = {
            "exact": self._match_exact,
            "abstract": self._match_abstract,
            "canonical": self._match_canonical,
            "ngram": self._match_ngram,
        }
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
        found = self._abstract.get(shape_id(source))
        return Match("abstract", found[1]) if found is not None else None

    def _match_canonical(self, source: str) -> Match | None:
        found = (self._canonical.get(form) for form in _canonical_forms(source))
        problem = next((name for name in found if name is not None), None)
        return Match("canonical", problem) if problem is not None else None

    def _match_ngram(self, source: str) -> Match | None:
        for grams, known in (
            (self._grams(source), self._ngrams),
            (self._outline_grams(source), self._outlines),
        ):
            shared = next((gram for gram in grams if gram in known), None)
            if shared is not None:
                return Match("ngram", known[shared], " ".join(shared))
        return None

    def _grams(self, source: str) -> Iterator[tuple[str, ...]]:
        return _runs(body_tokens(source), self._ngram)

    def _outline_grams(self, source: str) -> Iterator[tuple[str, ...]]:
        try:
            tokens = outline_tokens(source)
        except SourceError:  # it has no canonical form; its text still counts
            return iter(())
        return _runs(tokens, self._outline)


@functools.lru_cache(maxsize=4)
def protected(problems: tuple[Problem, ...]) -> Protected:
    """The index of these problems, made once: it takes seconds, and every iteration asks for it."""
    return Protected(problems)


def _first(pairs: Iterable[tuple[K, V]]) -> dict[K, V]:
    """Each key with its first value."""
    found: dict[K, V] = {}
    for key, value in pairs:
        found.setdefault(key, value)
    return found


def _canonical_forms(source: str) -> tuple[str, ...]:
    """With parameters and with constants in their place; none for Python that has no such form: several functions (a
    list of puzzles), or one nested too deeply."""
    try:
        return canonical_form(source), canonical_form(source, constant_defaults=True)
    except SourceError:
        return ()


def _runs(tokens: list[str], length: int) -> Iterator[tuple[str, ...]]:
    for i in range(len(tokens) - length + 1):
        yield tuple(tokens[i : i + length])
