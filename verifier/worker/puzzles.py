"""Puzzles made ready for checks: read and compiled in a child that runs nothing, and kept between batches."""

from collections.abc import Sequence
from functools import partial

from verifier.language import literal
from verifier.language.answer_types import Checker, compile_checker, parse_type
from verifier.outcomes import INFRASTRUCTURE
from verifier.worker import child
from verifier.worker.area import Area
from verifier.worker.child import Prepared
from verifier.worker.reports import is_transient
from verifier.worker.runtime import Allowance, Runtime
from verifier.worker.watch import Ended, Nursery, Watched

KEPT_BYTES = 16 << 20
KEPT_TYPES = 1000
TOO_LARGE = "too_large"


class Puzzles:
    """A cache of prepared puzzles, the most recently used kept."""

    def __init__(self, nursery: Nursery, runtime: Runtime):
        self._nursery, self._runtime = nursery, runtime
        self._kept: dict[str, Prepared] = {}
        self._kept_bytes = 0
        self._checkers: dict[str, tuple[Checker, bytes]] = {}

    def prepare(self, sources: Sequence[str], limits: Allowance) -> list[Prepared]:
        """Each puzzle, or why it is not one. One that cannot be compiled within limits is `too_large`."""
        found = {source: self._kept[source] for source in sources if source in self._kept}
        missing = [source for source in dict.fromkeys(sources) if source not in found]
        alone: list[str] = []  # what was too large in company
        while missing:
            ended, reports = self._read_and_compile(missing, limits)
            for source, prepared in zip(missing, reports, strict=False):
                if prepared.reason == TOO_LARGE:
                    alone.append(source)
                else:
                    found[source] = prepared
            missing = missing[len(reports) :]
            if missing and (ended.how != "exit" or not reports):
                alone.append(missing.pop(0))
        for source in alone:
            ended, reports = self._read_and_compile([source], limits)
            reason = INFRASTRUCTURE if is_transient(ended) else TOO_LARGE
            refused = child.refused_puzzle(reason, f"compiling it ended with {ended.how}")
            found[source] = reports[0] if reports else refused
        self._keep(found)
        return [found[source] for source in sources]

    def _read_and_compile(self, sources: list[str], limits: Allowance) -> tuple[Ended, list[Prepared]]:
        """How the child ended, and its reports on the first of these, or on all."""
        budget = dict.fromkeys(range(len(sources)), limits.cpu_s)
        body = partial(child.prepare_puzzles, sources=sources, runtime=self._runtime)
        with Area(limits.output_bytes) as area:
            ended = self._nursery.run(body, area, Watched(budget, limits.wall_s, limits.memory_mb))
            return ended, [Prepared(*literal.decode(data)) for _, data in area.records()]

    def _keep(self, found: dict[str, Prepared]) -> None:
        for source, prepared in found.items():
            if self._kept.pop(source, None) is None:
                self._kept_bytes += _size(source, prepared)
            self._kept[source] = prepared  # the most recently used last
            if prepared.reason in (INFRASTRUCTURE, TOO_LARGE):  # may change with limits, or with time
                self._forget(source)
        while self._kept_bytes > KEPT_BYTES:
            self._forget(next(iter(self._kept)))

    def _forget(self, source: str) -> None:
        self._kept_bytes -= _size(source, self._kept.pop(source))

    def checker(self, answer_type: str) -> tuple[Checker, bytes]:
        """A type's checker, and the first bytes that by themselves show an encoded answer to be of the type."""
        if answer_type not in self._checkers:
            if len(self._checkers) >= KEPT_TYPES:
                self._checkers.clear()
            checker = compile_checker(parse_type(answer_type, or_any=True))
            self._checkers[answer_type] = checker, literal.PROOFS.get(answer_type, b"")
        return self._checkers[answer_type]


def _size(source: str, prepared: Prepared) -> int:
    return 4 * len(source) + len(prepared.code) + 500
