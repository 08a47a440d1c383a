"""The verdict on one attempt, and the limits it was judged under."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from verifier.errors import UserError
from verifier.outcomes import ACCEPTED, INFRASTRUCTURE, VERSION
from verifier.tiers import Tiers

Record = TypeVar("Record", bound=Mapping[str, Any])


@dataclass(frozen=True)
class Limits:
    """What one attempt may use. CPU seconds decide; the wall limit ends what sleeps, however busy the host is.

    cpu_s: CPU seconds of the solution and of the puzzle's check together, compilation included.
    wall_s: seconds either may spend without using the CPU; None is 30 times cpu_s, at least 10 s. Four times as many
        seconds on the clock end what is busy too.
    memory_mb: address space of a process, interpreter included.
    output_bytes: of the encoded answer; printed text may be as long.
    tiers: a shorter limit for most attempts (tiers.py), for generating data; None judges every attempt exactly.
    """

    cpu_s: float = 1.0
    wall_s: float | None = None
    memory_mb: int = 1024
    output_bytes: int = 64 << 20
    tiers: Tiers | None = None

    def __post_init__(self) -> None:
        if not 0.001 <= self.cpu_s <= 86400:
            raise ValueError(f"cpu_s must be from 0.001 to 86400, got {self.cpu_s!r}")
        if self.wall_s is not None and self.wall_s < self.cpu_s:
            raise ValueError(f"wall_s must be at least cpu_s ({self.cpu_s}), got {self.wall_s!r}")
        if self.memory_mb < 64:
            raise ValueError(
                f"memory_mb must be at least 64 (the interpreter needs 40), got {self.memory_mb!r}"
            )
        if not 1024 <= self.output_bytes <= self.memory_mb << 19:
            raise ValueError(
                f"output_bytes must be from 1024 to half of memory_mb ({self.memory_mb << 19}), "
                f"got {self.output_bytes!r}"
            )

    def require_exact(self, what: str) -> None:
        """Raises UserError where tiers would leave attempts unjudged that the full limit might accept."""
        if self.tiers is not None:
            raise UserError(
                f"{what} takes every attempt to its full limit, but Limits.tiers is {self.tiers}; "
                "set tiers for judge/Limits only."
            )

    @property
    def effective_wall_s(self) -> float:
        return self.wall_s if self.wall_s is not None else max(10.0, 30.0 * self.cpu_s)


@dataclass(frozen=True)
class Verdict:
    """One attempt's judgement.

    outcome: one of OUTCOMES, or "error:" and the class of the exception the solution raised.
    detail: a short text that says why; empty when accepted.
    cpu_s: CPU seconds of solution and check.
    peak_mb: high-water mark of the process it ran in; an upper bound for an attempt judged in a batch.
    answer: the start of the answer's repr (at most 200 characters; addresses as 0x...), None where there was none.
    isolation: the layers that were on, as "rlimits+seccomp+landlock+namespaces".
    """

    outcome: str
    detail: str = ""
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    answer: str | None = None
    isolation: str = ""
    verifier_version: str = VERSION

    @property
    def accepted(self) -> bool:
        return self.outcome == ACCEPTED

    def as_record(self, attempt: Mapping[str, Any]) -> dict[str, Any]:
        """The attempt's own fields and the verdict's: a verdict record, or a line of JSON."""
        return dict(attempt) | {
            "outcome": self.outcome,
            "detail": self.detail,
            "cpu_s": round(self.cpu_s, 6),
            "peak_mb": round(self.peak_mb, 1),
            "answer": self.answer,
            "isolation": self.isolation,
            "verifier_version": self.verifier_version,
        }


@dataclass(frozen=True)
class PuzzleReport:
    """The result of screening a puzzle.

    ok: well formed and not trivial.
    reason: "" if ok; else no_parse, bad_signature, bad_type, no_return, answer_unused, trivial (`detail` is the guess
        that solved it), broken (f cannot be made, or every guess ended in the same NameError), timeout, memory_limit,
        killed, too_large or infrastructure.
    answer_type: in its one spelling, "" if there is none.
    cpu_s: of all guesses together.
    tried, raised: guesses made, and guesses that ended in an exception.
    plain: whether f is syntactically plain (screen.py).
    """

    ok: bool
    reason: str
    detail: str = ""
    answer_type: str = ""
    cpu_s: float = 0.0
    tried: int = 0
    raised: int = 0
    plain: bool = False

    def as_record(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row's own fields and the report's."""
        return dict(row) | {name: getattr(self, name) for name in self.__dataclass_fields__}


class Judges(Protocol):
    """Whatever judges attempts: a Pool, or a wrapper of one."""

    def judge(self, items: Iterable[Mapping[str, Any]]) -> Iterator[Verdict]:
        """One verdict for each item, in order."""


def infrastructure(detail: str, isolation: str = "") -> Verdict:
    return Verdict(INFRASTRUCTURE, detail=detail, isolation=isolation)


def histogram(outcomes: Iterable[str]) -> dict[str, int]:
    """Outcome -> its count, the most frequent first."""
    counts: dict[str, int] = {}
    for outcome in outcomes:
        counts[outcome] = counts.get(outcome, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def judged_by_puzzle(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Verdict records by puzzle_id, without those of attempts that could not be judged."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record["outcome"] != INFRASTRUCTURE:
            found.setdefault(record["puzzle_id"], []).append(record)
    return found
