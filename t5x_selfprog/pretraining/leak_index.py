"""Finds evaluation problems in pretraining text, by the syntax tree of every function and by normalised text.

The problems are all instances of P3 and of our own seeds: predicates, docstrings and solutions.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from t5x_selfprog.pretraining.extraction import structure_of
from verifier.errors import UserError

MIN_SOLUTION_NODES = 40  # `return n % 2 == 0` and the like are commonplace; smaller matches are no evidence
MIN_PREDICATE_NODES = 20
MIN_LINE_CHARS = 50  # a single line of a problem counts if it has this many characters without blanks
WINDOW_LINES = 3  # so do this many consecutive lines, if together they have MIN_WINDOW_CHARS
MIN_WINDOW_CHARS = 60


def _squeeze(line: str) -> str:
    return re.sub(r"\s+", "", line.split("  #")[0]).replace('"', "'")


class LeakIndex:
    """An index of the problems; `leaks_of` finds those that a file contains."""

    def __init__(self) -> None:
        self._structures: dict[str, str] = {}
        self._lines: dict[str, str] = {}
        self._windows: dict[str, str] = {}
        self.problem_count = 0

    @classmethod
    def load(cls, paths: Iterable[Path]) -> LeakIndex:
        """Indexes every puzzle file in P3's format.

        Raises:
          UserError: naming a file that is not readable in that format.
        """
        index = cls()
        for path in paths:
            try:
                entries = json.loads(path.read_text(encoding="utf-8"))
                for entry in entries:
                    index.add(entry)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{path}: cannot be read as a puzzle file in P3's format ({error!r})"
                ) from error
        return index

    def add(self, entry: dict) -> None:
        name = entry["name"]
        self.problem_count += 1
        self._add_code(entry["sat"], name, MIN_PREDICATE_NODES)
        for body in entry.get("sol_bodies", []):
            self._add_code(entry["sol_header"] + "\n" + body, name, MIN_SOLUTION_NODES)
        for line in entry.get("sol_docstring", "").strip().strip('"').split("\n"):
            self._add_line(_squeeze(line), name)

    def _add_code(self, source: str, name: str, min_nodes: int) -> None:
        limit = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(0)  # some problems have numbers of thousands of digits
        try:
            structure, nodes = structure_of(ast.parse(source).body[0])  # type: ignore[arg-type]
            if nodes >= min_nodes:
                self._structures.setdefault(structure, name)
        except SyntaxError:
            pass  # a solution that does not parse still counts as text, below
        finally:
            sys.set_int_max_str_digits(limit)
        lines = [squeezed for squeezed in map(_squeeze, source.split("\n")) if squeezed]
        for line in lines:
            self._add_line(line, name)
        for window in _windows(lines):
            self._windows.setdefault(window, name)

    def _add_line(self, line: str, name: str) -> None:
        if len(line) >= MIN_LINE_CHARS:
            self._lines.setdefault(line, name)

    def leaks_of(self, text: str, structures: Iterable[str] = ()) -> list[str]:
        """Reasons to leave a file out, as "how: problem: what matched"; empty if there are none."""
        found = [f"syntax tree: {self._structures[s]}" for s in structures if s in self._structures]
        lines = [squeezed for squeezed in map(_squeeze, text.split("\n")) if squeezed]
        found += [f"line: {self._lines[line]}: {line[:70]}" for line in lines if line in self._lines]
        found += [f"lines: {self._windows[w]}: {w[:70]!r}" for w in _windows(lines) if w in self._windows]
        return found


def _windows(lines: list[str]) -> Iterable[str]:
    for start in range(len(lines) - WINDOW_LINES + 1):
        window = "\n".join(lines[start : start + WINDOW_LINES])
        if len(window) >= MIN_WINDOW_CHARS:
            yield window
