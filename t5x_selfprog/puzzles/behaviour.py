"""Compares puzzles by what they do: a puzzle's verdicts on answers shared by all puzzles of its type.

`return x - 3 == 7` and `return 10 == x` have no text in common, yet both accept 10 and reject 9. Every answer type
therefore has a list of probes, the same for all its puzzles: the answers to the known problems of that type, near
misses of them, and a few plain values. A puzzle's verdicts on them are its behaviour, a string of one letter per probe:
`1` accepted, `0` rejected, `e` f raised. Only a behaviour that accepts some probes and rejects others identifies a
puzzle. Most puzzles reject every probe, and are compared by other means.

The verifier's pool puts a hundred probes to a puzzle for less than the cost of one attempt. CPU limits are tight,
because a probe made for another puzzle may be absurd for this one (a loop to 10**12); a puzzle that keeps exceeding
them has no behaviour. A virtual machine can lose a tenth of a second to its neighbours and charge it to the program, so
a probe that exceeded the limit is asked once more.
"""

from __future__ import annotations

import ast
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

from t5x_selfprog.bounds import Count, OneOf, Positive
from t5x_selfprog.puzzles.p3 import Problem
from t5x_selfprog.puzzles.source import short_hash
from verifier import Pool
from verifier.language.leniency import lenient_python

Literal = str  # the source of a plain value

MAX_SLOW = 3  # a puzzle that exceeds the limit on more probes than this is given up
_OVER = ("!", "?", "")  # replies that are not verdicts
_ROUNDS = 5
LONGEST_BYTES = 1 << 20  # the longest answer used as a probe, in the verifier's encoding
LONGEST_NEAR = 200  # the longest answer, in characters, that near misses are made of
TOTAL = 60  # all probes of a puzzle together may take this many times the limit of one
_SOLUTIONS = 2  # reference solutions per problem that are asked for an answer
_PLAIN: Mapping[str, tuple[Literal, ...]] = {
    "int": ("0", "1", "-1", "7", "12", "100", "101", "1000", "12345"),
    "float": ("0.0", "1.0", "-1.0", "0.5", "3.25", "1000.0"),
    "str": ("''", "'a'", "'ab'", "'hello world'", "'A1 b2'", "'((()))'"),
    "List[int]": ("[]", "[0]", "[1, 2, 3]", "[3, 1, 2]", "[1, 1, 1, 1]", "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"),
    "List[str]": ("[]", "['a']", "['a', 'b']", "['hello', 'world']"),
    "List[List[int]]": ("[]", "[[]]", "[[0]]", "[[1, 2], [3, 4]]"),
}


@dataclass(frozen=True)
class BehaviourCheck:
    """How stage 2 uses behaviour.

    Attributes:
      against: what a new puzzle must not behave like: "held-out" problems, "train" problems, and "earlier" puzzles
        kept in this or a previous iteration.
      probes: near misses and plain values fill up to this many probes per type; answers are always included.
      cpu_s: CPU seconds for one probe.
    """

    against: tuple[Annotated[str, OneOf(("held-out", "train", "earlier"))], ...] = (
        "held-out",
        "train",
        "earlier",
    )
    probes: Count = 96
    cpu_s: Positive = 0.1

    def __post_init__(self) -> None:
        unknown = set(self.against) - {"held-out", "train", "earlier"}
        if unknown:
            raise ValueError(f"against: {sorted(unknown)[0]!r} must be held-out, train or earlier")


@dataclass(frozen=True)
class Probes:
    """Literals by answer type, with types spelt as by `verifier.parse_puzzle`."""

    by_type: Mapping[str, tuple[Literal, ...]]

    @property
    def identity(self) -> str:
        """A hash of the probes; only behaviours under the same probes are comparable."""
        return short_hash(repr(sorted(self.by_type.items())))


def make_probes(problems: Iterable[Problem], pool: Pool, most: int = 96) -> Probes:
    """Probes for every answer type of the problems: their answers, near misses and plain values."""
    problems = [problem for problem in problems if problem.solutions]
    items = [
        {"puzzle": problem.source, "solution": solution, "type": problem.answer_type}
        for problem in problems
        for solution in problem.solutions[:_SOLUTIONS]
    ]
    right = [item for item, verdict in zip(items, pool.judge(items), strict=True) if verdict.accepted]
    answers: dict[str, list[Literal]] = defaultdict(list)
    whole = pool.answers(
        (item["solution"] for item in right), LONGEST_BYTES
    )  # a verdict holds only the beginning
    for item, answer in zip(right, whole, strict=True):
        if answer is not None and _value(literal := _written(answer[0])) is not None:
            answers[item["type"]].append(literal)
    by_type = {}
    for name in sorted(answers.keys() | _PLAIN.keys()):
        known = sorted(set(answers[name]), key=lambda literal: (len(literal), literal))
        # Near misses take turns: the first of every answer, then the second.
        misses = itertools.zip_longest(*(near_misses(answer) for answer in known))
        extra = [*_PLAIN.get(name, ()), *(miss for turn in misses for miss in turn if miss is not None)]
        fresh = list(dict.fromkeys(literal for literal in extra if literal not in known))
        by_type[name] = tuple(known + fresh[: max(0, most - len(known))])
    return Probes(by_type)


def near_misses(answer: Literal) -> list[Literal]:
    """A few values of the same type that are close to an answer, and that its puzzle is likely to reject.

    Empty for a long answer, which resembles no other puzzle's.
    """
    found = _value(answer) if len(answer) <= LONGEST_NEAR else None
    if found is None:
        return []
    value = found[0]
    if isinstance(value, bool):
        made: list[object] = [not value]
    elif isinstance(value, int | float):
        made = [value + 1, -value, value * 2]
    elif isinstance(value, str):
        made = [value[::-1], value[:-1], value + (value[:1] or "a"), value.swapcase()]
    elif isinstance(value, list):
        made = [value[::-1], value[:-1], value + value[:1]]
        made += (
            [[*value[:-1], miss[0]] for text in near_misses(repr(value[-1]))[:1] if (miss := _value(text))]
            if value
            else []
        )
    else:
        made = []
    return [text for text in map(repr, made) if text != answer]


def _written(value: object) -> Literal:
    with lenient_python():
        return repr(value)


def _value(literal: Literal) -> tuple[object] | None:
    """The value of a literal, in a tuple because it may itself be None; None for truncated text."""
    try:
        with lenient_python():
            return (ast.literal_eval(literal),)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def behaviours(
    pool: Pool, puzzles: Sequence[tuple[str, str]], probes: Probes, cpu_s: float
) -> list[str | None]:
    """The behaviour of each (source, answer type); None if its type has no probes or the puzzle is too slow.

    `cpu_s` is the limit for one probe.
    """
    values = {
        name: [value[0] for text in texts if (value := _value(text))]
        for name, texts in probes.by_type.items()
    }
    asked = {i: _Asked(source, values[kind]) for i, (source, kind) in enumerate(puzzles) if values.get(kind)}
    ask = partial(pool.ask, each_s=cpu_s, total_s=TOTAL * cpu_s, ends=MAX_SLOW + 1)
    for _ in range(_ROUNDS):
        # a puzzle given up in an earlier round is asked a single probe first; most then prove to be slow
        for several in (False, True):
            turn = [one for one in asked.values() if one.is_open and (several or one.was_given_up)]
            answers = ask((one.source, one.values_to_ask(several)) for one in turn)
            for one, letters in zip(turn, answers, strict=True):
                one.take(letters, several)
    return [asked[i].behaviour if i in asked else None for i in range(len(puzzles))]


class _Asked:
    """A puzzle whose behaviour is being measured: one letter per probe, "" while there is none."""

    def __init__(self, source: str, values: list[object]) -> None:
        self.source, self._values = source, values
        self._said = [""] * len(values)
        self._slow = 0  # probes that exceeded the limit twice
        self.was_given_up = self._is_slow = False

    @property
    def _unsaid(self) -> list[int]:
        return [at for at, letter in enumerate(self._said) if letter in _OVER]

    @property
    def is_open(self) -> bool:
        return not self._is_slow and bool(self._unsaid)

    @property
    def behaviour(self) -> str | None:
        return None if self._is_slow or self._unsaid else "".join(self._said)

    def values_to_ask(self, several: bool) -> list[object]:
        if len(self._unsaid) == len(self._values):
            return self._values  # the same list object, which the pool sends once for many puzzles
        return [self._values[at] for at in self._unsaid[: None if several else 1]]

    def take(self, letters: str, several: bool) -> None:
        """Records the puzzle's replies to `values_to_ask`."""
        asked = self._unsaid if several else self._unsaid[:1]
        for at, letter in zip(asked, letters, strict=False):
            again = letter in _OVER and self._said[at] != ""
            self._slow += again
            self._said[at] = "0" if again else letter
        self.was_given_up = sum(letter in _OVER for letter in letters) > MAX_SLOW
        is_late = len(letters) < len(asked) and not self.was_given_up and not letters.endswith("?")
        self._is_slow = is_late or self._slow > MAX_SLOW or (not several and self._slow > 0)


def is_telling(behaviour: str | None) -> bool:
    """Whether a behaviour identifies a puzzle, that is, accepts some probes and not others."""
    return behaviour is not None and 0 < behaviour.count("1") < len(behaviour)


@dataclass
class KnownBehaviours:
    """The identifying behaviours seen so far, each under the name of its first owner."""

    names: dict[tuple[str, str], str] = field(default_factory=dict)

    def match(self, answer_type: str, behaviour: str | None) -> str | None:
        """The name of the first puzzle with this behaviour, or None."""
        return self.names.get((answer_type, behaviour)) if behaviour and is_telling(behaviour) else None

    def add(self, answer_type: str, behaviour: str | None, name: str) -> None:
        if behaviour and is_telling(behaviour):
            self.names.setdefault((answer_type, behaviour), name)


def of_problems(
    pool: Pool, problems: Sequence[Problem], probes: Probes, cpu_s: float
) -> Iterator[tuple[Problem, str | None]]:
    """The behaviour of each known problem."""
    found = behaviours(pool, [(problem.source, problem.answer_type) for problem in problems], probes, cpu_s)
    yield from zip(problems, found, strict=True)
