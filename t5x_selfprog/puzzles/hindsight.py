"""A wrong answer is the right answer to another puzzle (Andrychowicz et al. 2017, arXiv:1707.01495, on goals).

    def f(x: List[int], n=5):              def f(x: List[int], n=12):
        return len(x) > 2 and sum(x) == n      return len(x) > 2 and sum(x) == n

The answer [3, 4, 5] fails the first puzzle and solves the second. What changes is the target: a constant, or an
argument's default, that the last `return` compares with. Where it returns a value without comparing it, the comparison
is added. The new target is the value that the answer gives, which takes running the puzzle; `probe` is a program that
does so. Nothing here decides whether the new pair holds: the verifier does.

Apart from the new targets, the text of the puzzle is unchanged.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from t5x_selfprog.puzzles.scopes import with_defaults
from t5x_selfprog.puzzles.source import SourceError, lenient_python, only_function, unparse
from verifier.language.puzzle import PuzzleError, own_nodes, parse_puzzle, solution_header

# A puzzle that nothing solves; probes are run against it only to learn their answers.
NO_ANSWER = "def f(x: None):\n    return False"


@dataclass(frozen=True)
class Aim:
    """One target that can be replaced.

    Attributes:
      free: an expression of the answer, whose value becomes the new target.
      place: the constant, the default, or, with `added`, the expression to append a comparison to.
      step: added to the value: 1 or -1 for `<` and `>`.
    """

    free: ast.expr
    place: ast.expr
    step: int = 0
    added: bool = False


_STEPS: dict[type[ast.cmpop], int] = {ast.Eq: 0, ast.LtE: 0, ast.GtE: 0, ast.Lt: 1, ast.Gt: -1}


class Retarget:
    """A parsed puzzle: the targets of its last `return`, and its text with other targets."""

    def __init__(self, source: str) -> None:
        """Raises SourceError or PuzzleError if the source is not a puzzle or does not end in `return` with a value."""
        self.source = source
        with lenient_python():
            self.puzzle = parse_puzzle(source)
        self._function = only_function(source)
        last = self._function.body[-1]
        if not isinstance(last, ast.Return) or last.value is None:
            raise SourceError("does not end in a return of a value")
        self._value = last.value
        rebound = {
            node.id for node in own_nodes(self._function) if isinstance(node, ast.Name) and _binds(node)
        }
        self._defaults = {
            argument.arg: default
            for argument, default in with_defaults(self._function.args)
            if argument.arg not in rebound and _is_literal(default)
        }
        self.aims = self._find_aims()

    def _find_aims(self) -> list[Aim]:
        value = self._value
        parts = value.values if isinstance(value, ast.BoolOp) and isinstance(value.op, ast.And) else [value]
        found = [aim for part in parts if isinstance(part, ast.Compare) and (aim := self._aim(part))]
        if not found and not self._is_no_measure(value):
            found = [Aim(value, value, added=True)]
        return found

    def _is_no_measure(self, value: ast.expr) -> bool:
        """Whether the returned value offers nothing to compare: a truth value, a constant, the bare answer."""
        if isinstance(value, ast.Name) and value.id == self.puzzle.answer_name:
            return True
        return isinstance(value, ast.Compare | ast.BoolOp | ast.Constant) or _is_truth(value)

    def _aim(self, compare: ast.Compare) -> Aim | None:
        if len(compare.ops) != 1 or (step := _STEPS.get(type(compare.ops[0]))) is None:
            return None
        left, right = compare.left, compare.comparators[0]
        for free, aimed, sign in ((left, right, 1), (right, left, -1)):
            if _is_literal(free) or (isinstance(free, ast.Name) and free.id in self._defaults):
                continue
            if _is_literal(aimed):
                return Aim(free, aimed, sign * step)
            if isinstance(aimed, ast.Name) and aimed.id in self._defaults:
                return Aim(free, self._defaults[aimed.id], sign * step)
        return None

    def probe(self, answer: str) -> str:
        """A solution that answers with the list of the aims' values, given the literal of an answer.

        The puzzle keeps its name, since it may call itself. Raises SourceError where Python cannot write it.
        """
        last = self._function.body[-1]
        assert isinstance(last, ast.Return)
        last.value = ast.List([aim.free for aim in self.aims], ast.Load())
        try:
            return f"{unparse(self._function)}\n\ndef g():\n    return f({answer})"
        finally:
            last.value = self._value

    def towards(self, values: Sequence[Any], max_chars: int) -> str | None:
        """The puzzle with these values as targets, one per aim.

        None if it would be unchanged, if two aims disagree on one default, or if a value is not plain or its literal is
        longer than `max_chars`.
        """
        if len(values) != len(self.aims):
            return None
        edits: dict[tuple[int, int, int, int], str] = {}
        for aim, value in zip(self.aims, values, strict=True):
            text = _literal(value, aim.step, max_chars)
            if text is None or (aim.added and type(value) is bool):
                return None
            place = _place(aim.place)
            if aim.added:
                text = f"{_bracketed(self.source, aim.place)} == {text}"
            elif text == unparse(aim.place):
                text = _segment(self.source, place)
            if edits.setdefault(place, text) != text:
                return None
        found = _edited(self.source, edits)
        return None if found == self.source else found

    def solution(self, solution: str, puzzle: str) -> str | None:
        """The solution with the header of the new puzzle; None if it does not have this puzzle's header."""
        with lenient_python():
            new = parse_puzzle(puzzle)
        for typed in (False, True):
            header = solution_header(self.puzzle, typed=typed)
            if solution.startswith(header):
                return solution_header(new, typed=typed) + solution[len(header) :]
        return None


def retarget(source: str) -> Retarget | None:
    """The parsed puzzle, if it has a target to replace."""
    try:
        found = Retarget(source)
    except (SourceError, PuzzleError):
        return None
    return found if found.aims else None


def _binds(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store | ast.Del)


def _is_literal(node: ast.expr) -> bool:
    try:
        with lenient_python():
            ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _is_truth(node: ast.expr) -> bool:
    """Whether an expression has the form of a truth value, and thus no number to compare."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return True
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("all", "any", "isinstance")
    )


def _literal(value: Any, step: int, max_chars: int) -> str | None:
    if step:
        if type(value) is not int:
            return None
        value += step
    if type(value) is float and not math.isfinite(value):
        return None
    if type(value) not in (int, float, str, list, bool):
        return None
    with lenient_python():
        text = repr(value)
    return text if len(text) <= max_chars else None


Place = tuple[
    int, int, int, int
]  # first row, column, last row, column; rows from 1, columns in bytes of UTF-8


def _place(node: ast.expr) -> Place:
    assert node.end_lineno is not None and node.end_col_offset is not None
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


def _offset(lines: Sequence[bytes], row: int, column: int) -> int:
    return sum(map(len, lines[: row - 1])) + column


def _segment(source: str, place: Place) -> str:
    data = source.encode()
    lines = data.splitlines(keepends=True)
    return data[_offset(lines, *place[:2]) : _offset(lines, *place[2:])].decode()


def _bracketed(source: str, node: ast.expr) -> str:
    text = _segment(source, _place(node))
    loose = isinstance(
        node, ast.BoolOp | ast.IfExp | ast.Lambda | ast.Compare | ast.NamedExpr | ast.Yield | ast.Starred
    )
    return f"({text})" if loose or (isinstance(node, ast.Tuple) and not text.startswith("(")) else text


def _edited(source: str, edits: dict[Place, str]) -> str:
    data = source.encode()
    lines = data.splitlines(keepends=True)
    for place, text in sorted(edits.items(), reverse=True):
        first, last = _offset(lines, *place[:2]), _offset(lines, *place[2:])
        data = data[:first] + text.encode() + data[last:]
    return data.decode()
