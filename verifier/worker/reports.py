"""What the reports of children, and their deaths, mean. Nothing a child wrote is taken at its word."""

from collections.abc import Iterator
from typing import NamedTuple

from verifier.language import literal
from verifier.outcomes import CPU_LIMIT, INFRASTRUCTURE, KILLED, OUTPUT_LIMIT, SYNTAX, WALL_LIMIT
from verifier.worker import child
from verifier.worker.area import Area, unpack_report
from verifier.worker.watch import Ended

SOLUTION_OUTCOMES = frozenset((child.ANSWER, child.FULL, child.NO_MEMORY, SYNTAX, "bad_answer", OUTPUT_LIMIT))
CHECK_OUTCOMES = frozenset(("accepted", "wrong", "wrong_type", "bad_answer", OUTPUT_LIMIT, child.NO_MEMORY))
_HEX = frozenset("0123456789abcdef")


class Judged(NamedTuple):
    """The fields of a verdict.Verdict that judging determines."""

    outcome: str
    detail: str = ""
    cpu_s: float = 0.0
    peak_kb: float = 0.0
    answer: str | None = None


class Solved(NamedTuple):
    """What became of one solution; `answer` is set if and only if `outcome` is ANSWER."""

    outcome: str
    detail: str
    cpu_s: float
    peak_kb: int
    answer: literal.Buffer = b""

    def within(self, cpu_limit_s: float) -> "Solved":
        """Itself, or a CPU limit if it finished but used too much."""
        if self.cpu_s <= cpu_limit_s or self.outcome == CPU_LIMIT:
            return self
        return Solved(CPU_LIMIT, IN_SOLUTION, self.cpu_s, self.peak_kb)


class Checked(NamedTuple):
    """What became of one check; `shown` is the answer's bounded repr."""

    outcome: str
    detail: str
    cpu_s: float
    peak_kb: int
    shown: str


IN_SOLUTION, IN_PUZZLE = "in the solution", "in the puzzle"
TOO_LARGE = "the answer is too large"


def read_solutions(area: Area, *, plain: bool) -> Iterator[tuple[int, Solved]]:
    """(item, report) as a child wrote them, up to the first that no honest child writes.

    An answer comes before its report, under the complement of the item's number. It stays in the area.
    Only a child of `plain` programs may say that an item is the SAME as another, or NOT_PLAIN: any other could
    use that to get another's verdict, or none at all.
    """
    answers: dict[int, memoryview] = {}
    for item, data in area.records():
        if item < 0:
            answers = {~item: data}
            continue
        fields = unpack_report(data)
        if fields is None:
            return
        outcome, detail, cpu_s, peak_kb, _ = fields
        answer = answers.pop(item, None) if outcome == child.ANSWER else b""
        known = outcome in SOLUTION_OUTCOMES or (outcome.startswith("error:") and outcome[6:].isidentifier())
        if plain:
            known = known or outcome == child.NOT_PLAIN or (outcome == child.SAME and detail.isdecimal())
        else:
            known = known or (outcome == child.TWIN and len(detail) == 32 and _HEX.issuperset(detail))
        if answer is None or not known:
            return
        yield item, Solved(outcome[:70], detail[:200], cpu_s, peak_kb, answer)


def read_checks(area: Area) -> Iterator[tuple[int, Checked]]:
    """(item, report), up to the first that no honest child writes."""
    for item, data in area.records():
        fields = unpack_report(data)
        if fields is None or fields[0] not in CHECK_OUTCOMES:
            return
        outcome, detail, cpu_s, peak_kb, shown = fields
        yield item, Checked(outcome, detail[:200], cpu_s, peak_kb, shown[:200])


def is_transient(ended: Ended) -> bool:
    """Whether the host, not the program, may be to blame: a kill that is not ours, or a sandbox not set up."""
    return ended.how in ("signal 9", "setup")


def death(ended: Ended, where: str) -> tuple[str, str]:
    """(outcome, detail) of an item whose own child died."""
    if ended.how in (CPU_LIMIT, WALL_LIMIT):
        return ended.how, where
    if is_transient(ended):
        return INFRASTRUCTURE, f"{ended.how} {where}, twice"
    if ended.how == "signal 24":  # SIGXCPU, the kernel's net
        return CPU_LIMIT, where
    if ended.how == "exit":
        return KILLED, f"ended without a report {where}"
    return KILLED, f"{ended.how} {where}"
