"""The trivial-answer filter: a puzzle that a guess without thought solves teaches nothing.

The guesses follow the paper: integers from -10 to 100, eight short strings, thirteen floats, and lists of
at most two items over a small base, nested as the type is. Other types of the vocabulary are treated
alike.
"""

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from verifier import literal
from verifier.answer_types import AnswerType, parse_type
from verifier.outcomes import CPU_LIMIT, INFRASTRUCTURE, WALL_LIMIT

if TYPE_CHECKING:  # these import this module
    from verifier.child import Prepared
    from verifier.judging import Judge
    from verifier.programs import Allowance

INTS = tuple(range(-10, 101))
STRINGS = ("cat", "dog", "aa", "ab", "foo", "bar", "baz", "")
FLOATS = (-100.0, -10.0, -2.0, -1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0, 2.0, 10.0, 100.0)
SCALARS: dict[str, tuple[Any, ...]] = {
    "int": INTS,
    "str": STRINGS,
    "float": FLOATS,
    "bool": (True, False),
    "bytes": tuple(text.encode() for text in STRINGS),
    "complex": tuple(complex(number) for number in FLOATS),
    "None": (None,),
}
# What containers are filled from: the first few of a type's guesses, and for int those around zero.
BASE_SIZE = 8
INT_BASE = (0, 1, 2, 3, -1, 10, 5, 100)


def trivial_answers(answer_type: str) -> list[Any]:
    """The guesses for a type. Each call makes them anew: a puzzle may change the one it is given."""
    return list(_guesses(parse_type(answer_type)))


def _guesses(wanted: AnswerType) -> Iterator[Any]:
    if wanted.name in SCALARS:
        yield from SCALARS[wanted.name]
    elif wanted.name == "Union":
        for member in wanted.arguments:
            yield from _guesses(member)
    elif wanted.name == "Tuple" and not wanted.variadic:
        yield from itertools.islice(itertools.product(*map(_base, wanted.arguments)), BASE_SIZE**2)
    elif wanted.name == "Dict":
        key, item = map(_base, wanted.arguments)
        yield {}
        yield from ({k: v} for k in key for v in item)
    else:
        make = {"List": list, "Set": set, "FrozenSet": frozenset, "Tuple": tuple}[wanted.name]
        for length in range(3):
            yield from map(make, itertools.product(_base(wanted.arguments[0]), repeat=length))


def _base(wanted: AnswerType) -> list[Any]:
    if wanted.name == "int":
        return list(INT_BASE)
    return list(itertools.islice(_guesses(wanted), BASE_SIZE))


class Report(NamedTuple):
    """The fields of a verdict.PuzzleReport."""

    ok: bool
    reason: str
    detail: str = ""
    answer_type: str = ""
    cpu_s: float = 0.0
    tried: int = 0
    raised: int = 0
    plain: bool = False


def screen_puzzles(judge: "Judge", sources: Sequence[str], limits: "Allowance") -> list[tuple]:
    """A Report, as a plain tuple, for each puzzle. All guesses at one puzzle run in one child."""
    prepared = judge.puzzles.prepare(sources, limits)
    return [tuple(_screen(judge, *pair, limits)) for pair in zip(sources, prepared, strict=True)]


def _screen(judge: "Judge", source: str, puzzle: "Prepared", limits: "Allowance") -> Report:
    from verifier import child

    if puzzle.reason:
        return Report(False, puzzle.reason, puzzle.detail)
    guesses = partial(trivial_answers, puzzle.answer_type)
    tries = partial(child.run_trivial, source=source, answers=guesses)
    ended, data = judge.examine(puzzle, tries, limits)
    report = partial(Report, answer_type=puzzle.answer_type, cpu_s=ended.cpu_s, plain=puzzle.plain)
    fields = _read(data) if data is not None else None
    if fields is None:
        return report(False, _reason(ended.how), f"{ended.how} while trying trivial answers")
    tried, raised, winner, error = fields
    if winner:
        return report(False, "trivial", winner, tried=tried, raised=raised)
    if error in ("no_return", "answer_unused"):
        return report(False, error)
    if not tried or (raised == tried and error.startswith(("NameError", "ImportError", "UnboundLocalError"))):
        return report(False, "broken", error, tried=tried, raised=raised)
    return report(True, "", "", tried=tried, raised=raised)


def _reason(how: str) -> str:
    if how in (CPU_LIMIT, WALL_LIMIT):
        return "timeout"
    return INFRASTRUCTURE if how in ("setup", "signal 9") else "killed"


def _read(data: bytes) -> tuple[int, int, str, str] | None:
    try:
        tried, raised, winner, error = literal.decode(data)
    except (literal.CorruptLiteral, TypeError, ValueError):
        return None
    if tuple(map(type, (tried, raised, winner, error))) != (int, int, str, str):
        return None
    return tried, raised, winner[:200], error[:200]
