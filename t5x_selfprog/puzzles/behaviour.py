"""Puzzles told apart by what they do: the verdicts of one puzzle on answers that are shared by all of its type.

`return x - 3 == 7` and `return 10 == x` have nothing in common on the page. Both take 10 and refuse 9. So every
answer type gets a list of probes, the same for every puzzle of the type: the answers to the known problems of
that type, near misses of them, and a few plain values. What a puzzle says to each is its behaviour, a text of one
letter a probe: `1` accepted, `0` refused, `e` f raised. Only a behaviour that accepts something and refuses
something says who a puzzle is; most puzzles refuse every probe, and those are told apart by other means.

Probes run through the verifier's pool like any solution. CPU limits are tight, because a probe made for another
puzzle may be an absurd question to this one (a loop to 10**12); a puzzle that runs into them again and again has
no behaviour. A tenth of a second is also what a virtual machine can lose in one piece to its neighbours, and count
as the program's: what ran into a limit is asked once more.
"""

from __future__ import annotations

import ast
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from t5x_selfprog.puzzles.p3 import Problem
from t5x_selfprog.puzzles.source import short_hash
from verifier import Pool, Verdict
from verifier.leniency import lenient_python

Literal = str  # the source of a plain value

MAX_SLOW = 2  # probes over the limit, after which a puzzle is left alone
_FIRST = 12  # probes of the first round, which finds the slow ones
_OVER = "!"
_AGAIN = 12  # a puzzle with more probes over the limit is slow, whatever a second try would say
_SOLUTIONS = 2  # reference solutions of a problem that are asked for an answer
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
      against: what a new puzzle may not behave like: "held-out" and "train" problems, and "earlier" puzzles that
        were kept, of this iteration or one before.
      probes: near misses and plain values are added up to so many probes a type; answers are always in.
      cpu_s: for one probe.
    """

    against: tuple[str, ...] = ("held-out", "train", "earlier")
    probes: int = 96
    cpu_s: float = 0.1

    def __post_init__(self) -> None:
        unknown = set(self.against) - {"held-out", "train", "earlier"}
        if unknown:
            raise ValueError(f"against: {sorted(unknown)[0]!r} must be held-out, train or earlier")


@dataclass(frozen=True)
class Probes:
    """Literals by answer type, in one spelling of the types (`verifier.parse_puzzle` gives it)."""

    by_type: Mapping[str, tuple[Literal, ...]]

    @property
    def identity(self) -> str:
        """Behaviours compare only under the same probes."""
        return short_hash(repr(sorted(self.by_type.items())))


def make_probes(problems: Iterable[Problem], pool: Pool, most: int = 96) -> Probes:
    """Probes of every answer type that the problems have: their answers, near misses, plain values."""
    problems = [problem for problem in problems if problem.solutions]
    items = [
        {"puzzle": problem.source, "solution": solution, "type": problem.answer_type}
        for problem in problems
        for solution in problem.solutions[:_SOLUTIONS]
    ]
    answers: dict[str, list[Literal]] = defaultdict(list)
    for item, verdict in zip(items, pool.judge(items), strict=True):
        if verdict.accepted and verdict.answer is not None and _value(verdict.answer) is not None:
            answers[item["type"]].append(verdict.answer)
    by_type = {}
    for name in sorted(answers.keys() | _PLAIN.keys()):
        known = sorted(set(answers[name]), key=lambda literal: (len(literal), literal))
        # Near misses in turns: the first of every answer, then the second.
        misses = itertools.zip_longest(*(near_misses(answer) for answer in known))
        extra = [*_PLAIN.get(name, ()), *(miss for turn in misses for miss in turn if miss is not None)]
        fresh = list(dict.fromkeys(literal for literal in extra if literal not in known))
        by_type[name] = tuple(known + fresh[: max(0, most - len(known))])
    return Probes(by_type)


def near_misses(answer: Literal) -> list[Literal]:
    """A few values of the same type close to one, which a puzzle that wants this one is likely to refuse."""
    found = _value(answer)
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


def _value(literal: Literal) -> tuple[object] | None:
    """The value of a literal, in a tuple because it may be None itself; None for text that was cut off."""
    try:
        with lenient_python():
            return (ast.literal_eval(literal),)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def behaviours(pool: Pool, puzzles: Sequence[tuple[str, str]], probes: Probes) -> list[str | None]:
    """The behaviour of each (source, answer type); None where its type has no probes, or it is slow."""
    letters: list[list[str]] = [[] for _ in puzzles]
    slow = [0] * len(puzzles)

    def judge(asked: Sequence[tuple[int, Literal]], end: str = "") -> list[str]:
        items = ({"puzzle": puzzles[i][0], "solution": f"def g():\n    return {x}{end}"} for i, x in asked)
        return [_letter(verdict) for verdict in pool.judge(items)]

    def ask(first: int, last: int | None) -> None:
        asked = [
            (i, literal)
            for i, (_, answer_type) in enumerate(puzzles)
            if slow[i] <= MAX_SLOW
            for literal in probes.by_type.get(answer_type, ())[first:last]
        ]
        said = judge(asked)
        count = Counter(i for (i, _), letter in zip(asked, said, strict=True) if letter == _OVER)
        over = [at for at, (i, _) in enumerate(asked) if said[at] == _OVER and count[i] <= _AGAIN]
        # by another text, for the pool knows what it said of this one
        for at, letter in zip(over, judge([asked[at] for at in over], "  # again"), strict=True):
            said[at] = letter
        for (i, _), letter in zip(asked, said, strict=True):
            slow[i] += letter == _OVER
            letters[i].append("0" if letter == _OVER else letter)

    ask(0, _FIRST)
    ask(_FIRST, None)
    return ["".join(found) if found and slow[i] <= MAX_SLOW else None for i, found in enumerate(letters)]


def _letter(verdict: Verdict) -> str:
    if verdict.outcome in ("cpu_limit", "wall_limit", "memory_limit", "infrastructure"):
        return _OVER
    raised = verdict.outcome == "wrong" and verdict.detail.startswith("f raised")
    return "1" if verdict.accepted else "e" if raised else "0"


def is_telling(behaviour: str | None) -> bool:
    """Whether a behaviour says who a puzzle is: it accepts some probes and not others."""
    return behaviour is not None and 0 < behaviour.count("1") < len(behaviour)


@dataclass
class KnownBehaviours:
    """Telling behaviours seen so far, each under the name of its first owner."""

    names: dict[tuple[str, str], str] = field(default_factory=dict)

    def match(self, answer_type: str, behaviour: str | None) -> str | None:
        """The name of whoever behaved like this before."""
        return self.names.get((answer_type, behaviour)) if behaviour and is_telling(behaviour) else None

    def add(self, answer_type: str, behaviour: str | None, name: str) -> None:
        if behaviour and is_telling(behaviour):
            self.names.setdefault((answer_type, behaviour), name)


def of_problems(
    pool: Pool, problems: Sequence[Problem], probes: Probes
) -> Iterator[tuple[Problem, str | None]]:
    """The behaviour of each known problem."""
    found = behaviours(pool, [(problem.source, problem.answer_type) for problem in problems], probes)
    yield from zip(problems, found, strict=True)
