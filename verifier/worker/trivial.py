"""The trivial-answer filter: a puzzle that a thoughtless guess solves teaches nothing.

The guesses follow the paper: integers from -10 to 100, eight short strings, thirteen floats, and lists of at most two
items over a small base, nested as the type is. Other types of the vocabulary are treated alike.
"""

import itertools
import marshal
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from verifier.language import literal
from verifier.language.answer_types import AnswerType, parse_type
from verifier.language.shown import LIMIT
from verifier.outcomes import ACCEPTED, CPU_LIMIT, INFRASTRUCTURE, WALL_LIMIT
from verifier.worker import child
from verifier.worker.area import Area
from verifier.worker.child import Prepared
from verifier.worker.judge import Judge
from verifier.worker.questions import Answered, Patience, Question, ask
from verifier.worker.runtime import (
    Allowance,
    Runtime,
    begin_programs,
    class_name,
    describe,
    forget_cached,
    reset_shared,
)
from verifier.worker.watch import Watched

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
    "Any": (None, True, *INTS, *STRINGS, *FLOATS, [], [0], [1], ()),
}
# What containers are filled from: the first few of a type's guesses, and for int those around zero.
BASE_SIZE = 8
INT_BASE = (0, 1, 2, 3, -1, 10, 5, 100)


def trivial_answers(answer_type: str) -> list[Any]:
    """The guesses for a type. Each call makes them anew: a puzzle may change the one it is given."""
    return list(_guesses(parse_type(answer_type, or_any=True)))


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


def screen_puzzles(judge: Judge, sources: Sequence[str], limits: Allowance) -> list[tuple]:
    """A Report, as a plain tuple, for each puzzle.

    A guess is judged as a solution that returns it would be, under the same limits, and only a child that holds nothing
    else decides that one is accepted. All guesses together may take as long as one solution.
    """
    prepared = judge.puzzles.prepare(sources, limits)
    worthwhile = [puzzle for puzzle in prepared if not puzzle.reason and not puzzle.useless]
    guesses = {
        name: [literal.encode(guess) for guess in trivial_answers(name)]
        for name in {puzzle.answer_type for puzzle in worthwhile}
    }
    questions = [Question(puzzle, guesses[puzzle.answer_type]) for puzzle in worthwhile]
    asked = ask(judge, questions, limits, Patience(accepted=1, ends=1, total_s=limits.cpu_s))
    unmade = _unmade(
        judge, [one.question.puzzle for one in asked if _raised(one) == len(one.reports)], limits
    )
    screened = iter(map(partial(_report, unmade=unmade), asked))
    return [
        tuple(
            Report(False, reason, puzzle.detail)
            if (reason := puzzle.reason or puzzle.useless)
            else next(screened)
        )
        for puzzle in prepared
    ]


def _unmade(judge: Judge, puzzles: Sequence[Prepared], limits: Allowance) -> dict[bytes, str]:
    """Of puzzles that raised on every guess: code and error of those whose `def` itself raises."""
    together = [puzzle.code for puzzle in puzzles if puzzle.plain]
    unmade: dict[bytes, str] = {}
    apart = [([puzzle.code], False) for puzzle in puzzles if not puzzle.plain]
    for codes, plain in [(together, True), *apart] if together else apart:
        body = partial(_define, codes=codes, plain=plain, runtime=judge.runtime, limits=limits)
        watched = Watched(dict.fromkeys(range(len(codes)), limits.cpu_s), limits.wall_s, limits.memory_mb)
        with Area(child.REPORT_BYTES * len(codes)) as area:
            judge.run(body, area, watched)
            for number, error in area.records():
                if number in range(len(codes)) and error:
                    unmade[codes[number]] = str(error[: 4 * LIMIT], "utf-8", "replace")[:LIMIT]
    return unmade


def _define(area: Area, codes: Sequence[bytes], plain: bool, runtime: Runtime, limits: Allowance) -> None:
    """The child: what each `def` raises."""
    begin_programs(limits.output_bytes)
    for number, code in enumerate(codes):
        area.begin(number, time.process_time())
        error = ""
        reset_shared("", code)
        try:
            exec(marshal.loads(code), runtime.space(plain=plain))
        except BaseException as e:
            error = f"{class_name(e)}: {describe(e)}"
        forget_cached()
        area.append(number, error.encode("utf-8", "replace"))


def _raised(answered: Answered) -> int:
    return sum(report.detail.startswith(child.RAISED) for report in answered.reports)


def _report(answered: Answered, unmade: dict[bytes, str]) -> Report:
    puzzle, said = answered.question.puzzle, answered.reports
    tried, raised, last = len(said), _raised(answered), said[-1]
    report = partial(
        Report,
        answer_type=puzzle.answer_type,
        cpu_s=answered.cpu_s,
        tried=tried,
        raised=raised,
        plain=puzzle.plain,
    )
    if last.outcome == ACCEPTED:
        guess = literal.decode(answered.question.answers[tried - 1])
        return report(False, "trivial", repr(guess)[:LIMIT])
    if answered.ends or answered.is_late or last.outcome == INFRASTRUCTURE:
        how = CPU_LIMIT if answered.is_late else last.outcome
        return report(
            False, "timeout" if how in (CPU_LIMIT, WALL_LIMIT) else how, f"{how} while trying trivial answers"
        )
    error = last.detail.removeprefix(child.RAISED)
    if puzzle.code in unmade:
        return report(False, "broken", unmade[puzzle.code])
    if raised == tried and error.startswith(("NameError", "ImportError", "UnboundLocalError")):
        return report(False, "broken", error)
    return report(True, "")
