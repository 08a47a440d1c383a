"""The part of stage 2 that needs no later puzzle: the static rules, and what running a puzzle shows.

Follows 1_puzzles while stage 1 samples, so that the cores are busy while the device is. Shards are taken in their
order, since of two equal puzzles the first one stays; each gives the shard of 2_screened that has its number. A run
that samples first and screens afterwards writes the same bytes.
"""

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Callable, Collection, Iterator
from functools import partial

from tqdm import tqdm

import gin
from t5x_selfprog import hosts, preemption
from t5x_selfprog.bounds import Share, Whole
from t5x_selfprog.progress import progress_bar
from t5x_selfprog.puzzles.behaviour import BehaviourCheck, Probes, behaviours
from t5x_selfprog.puzzles.repair import Defaults, repaired
from t5x_selfprog.puzzles.rules import Kept, PuzzleFilter, PuzzleRules, Rejected
from t5x_selfprog.puzzles.source import short_hash
from t5x_selfprog.stages.context import Context
from t5x_selfprog.stages.probes import require_probes
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.watchdog import MAIN
from verifier import Limits, Pool, PuzzleReport
from verifier.errors import UserError
from verifier.fleet.beside import poll_s
from verifier.storage.records import PUZZLE, Kind, Schema
from verifier.storage.shards import Ledger, LedgerIncomplete, is_finished

TOGETHER = 8192  # puzzles screened before any of their shards is committed: seconds for many workers
TRACK = "screening"  # its track for the watchdog
# Reasons for which a puzzle may be repaired, and the suffix of a repaired one's origin.
REPAIRABLE = ("bad_signature", "no_parse", "arguments_unused")
REPAIRED = "+repaired"

SCREENED: Schema = {
    "puzzle_id": Kind.TEXT,
    "ok": Kind.INT,
    "reason": Kind.TEXT,
    "detail": Kind.TEXT,
    "behaviour": Kind.TEXT,
}


@gin.configurable("run", module="filter_puzzles")
@dataclasses.dataclass(frozen=True)
class Settings:
    """Which puzzles are refused; `filter_puzzles.run` in gin.

    Attributes:
      limits: for all trivial answers to a puzzle together.
      behaviour: without it, puzzles are compared by their text alone.
      trivial_rate: the share of the puzzles that trivial answers solve that is refused (the paper: 0.95), chosen by
        their identity.
      min_kept: a run with fewer puzzles is refused.
      repair: a puzzle refused for its arguments gets defaults for them, as train problems have them, or loses those
        it never uses (puzzles/repair.py); it is then judged like any other, and counted separately.
    """

    rules: PuzzleRules = PuzzleRules()
    limits: Limits = Limits(cpu_s=0.5)
    behaviour: BehaviourCheck | None = BehaviourCheck()
    trivial_rate: Share = 1.0
    min_kept: Whole = 0
    repair: bool = False


def screened_path(context: Context, iteration: int) -> str:
    return context.run.stage(iteration, "screened")


class Screening:
    """The screening of one iteration's puzzles.

    Attributes:
      settings: by default, as gin binds them.
      survivors, refused: the puzzles that the static rules let pass, and the others with a reason, each in order.
    """

    def __init__(self, context: Context, iteration: int, settings: Settings | None = None):
        self._context, self._iteration, self.settings = context, iteration, settings or Settings()
        self.survivors: list[dict] = []
        self.refused: list[dict] = []
        self._done = False

    def ahead(self, sampling: Callable[[], bool]) -> None:
        """For a thread beside stage 1: screens shards as they come, unless stage 2 is finished or another host's.

        Raises LedgerIncomplete if `sampling` turns false while shards are missing.
        """
        if hosts.is_first() and not is_finished(self._context.run.stage(self._iteration, "kept")):
            self._context.ledger(self._context.run.stage(self._iteration, "puzzles"), "puzzles", PUZZLE)
            self._follow(sampling, TRACK)

    def run(self) -> None:
        """Screens what is left once stage 1 has ended."""
        if not self._done:
            self._follow(lambda: False, MAIN)

    def shown(self) -> dict[str, dict]:
        """What running the survivors showed, by puzzle_id."""
        ledger = Ledger.open(screened_path(self._context, self._iteration))
        found = {row["puzzle_id"]: row for row in ledger}
        missing = sum(record["puzzle_id"] not in found for record in self.survivors)
        if missing:
            raise UserError(
                f"{ledger.path} lacks {missing} of {len(self.survivors)} puzzles: another version of this program "
                "began it. Delete it and run the same command again: it alone is recomputed."
            )
        return found

    def _follow(self, sampling: Callable[[], bool], track: str) -> None:
        context, iteration, settings = self._context, self._iteration, self.settings
        source = context.run.read(iteration, "puzzles")
        ledger = context.ledger(screened_path(context, iteration), "screened", SCREENED)
        whole = False

        def check() -> None:
            nonlocal whole
            preemption.check()
            if not whole and not sampling():  # asked before looking, so as not to miss the last commit
                if missing := source.pending():
                    raise LedgerIncomplete(
                        f"{source.path}: shards {missing[:8]} will not come; run its stage again."
                    )
                whole = True

        pending = ledger.pending()
        pool = partial(context.pool, track=track, check=check)
        with contextlib.ExitStack() as stack:
            if pending:
                with recorder.current().track(track, ledger.path):
                    probes = require_probes(context, settings.behaviour, pool) if settings.behaviour else None
                workers = stack.enter_context(pool(settings.limits))
                bar = stack.enter_context(
                    progress_bar(total=0, desc=f"{iteration}.2 try trivial answers", unit="puzzle")
                )
            for shards in self._sift(source, pending, check):  # none if nothing is pending
                records = list(itertools.chain.from_iterable(shards.values()))
                bar.total += len(records)
                with recorder.current().track(track, ledger.path):
                    rows = _screened(workers, records, settings, probes, bar)
                    for shard, of in shards.items():
                        ledger.commit(shard, list(itertools.islice(rows, len(of))))
        ledger.finish()
        self._done = True

    def _sift(
        self, source: Ledger, pending: Collection[int], check: Callable[[], None]
    ) -> Iterator[dict[int, list[dict]]]:
        """Applies the static rules to all shards in order; yields survivors of pending ones, shards together."""
        context, settings = self._context, self.settings
        known = [source for number in range(self._iteration) for source in _learnt(context, number)]
        puzzles = PuzzleFilter(settings.rules, problems=context.problems, known=known)
        defaults = (
            Defaults.of(problem.source for problem in context.train_problems) if settings.repair else None
        )
        together: dict[int, list[dict]] = {}
        for shard in range(source.shard_count):
            while shard not in source.committed():
                check()
                time.sleep(poll_s(source.path))
            survivors = []
            for record in source.read(shard):
                check()
                result = puzzles.offer(record["source"])
                if defaults is not None and isinstance(result, Rejected) and result.reason in REPAIRABLE:
                    mended = repaired(record["source"], defaults)
                    if mended is not None:
                        record |= {"source": mended, "origin": record["origin"] + REPAIRED}
                        result = puzzles.offer(mended)
                if isinstance(result, Kept):
                    survivors.append(
                        record
                        | {
                            "puzzle_id": result.puzzle_id,
                            "source": result.source,
                            "answer_type": result.answer_type,
                        }
                    )
                else:
                    self.refused.append(record | {"reason": result.reason, "detail": result.detail})
            self.survivors += survivors
            if shard in pending:
                together[shard] = survivors
            are_enough = sum(map(len, together.values())) >= TOGETHER
            if together and (are_enough or shard + 1 not in source.committed()):
                yield together
                together = {}


def _learnt(context: Context, iteration: int) -> Iterator[str]:
    """The puzzles of an earlier iteration: those kept, and those that hindsight made and the model has learnt since."""
    yield from (record["source"] for record in context.run.read(iteration, "kept"))
    if is_finished(path := context.run.stage(iteration, "hindsight")):
        yield from dict.fromkeys(record["puzzle"] for record in Ledger.open(path))


def _screened(
    pool: Pool, records: list[dict], settings: Settings, probes: Probes | None, bar: tqdm
) -> Iterator[dict]:
    """SCREENED records: every puzzle is run against trivial answers, and those that pass against the probes."""
    reports: list[PuzzleReport] = []
    for record, report in zip(records, pool.screen_puzzles(r["source"] for r in records), strict=True):
        bar.update()
        if report.reason == "trivial" and not _is_among(record["puzzle_id"], settings.trivial_rate):
            report = dataclasses.replace(report, ok=True, reason="", detail=f"trivial: {report.detail}")
        reports.append(report)
    passed = [record for record, report in zip(records, reports, strict=True) if report.ok]
    shown: dict[str, str | None] = {}
    if settings.behaviour and probes and passed:
        asked = [(record["source"], record["answer_type"]) for record in passed]
        found = behaviours(pool, asked, probes, settings.behaviour.cpu_s)
        shown = {record["puzzle_id"]: text for record, text in zip(passed, found, strict=True)}
    for record, report in zip(records, reports, strict=True):
        yield {
            "puzzle_id": record["puzzle_id"],
            "ok": int(report.ok),
            "reason": report.reason,
            "detail": report.detail,
            "behaviour": shown.get(record["puzzle_id"]),
        }


def _is_among(puzzle_id: str, share: float) -> bool:
    """Whether a puzzle belongs to a share of all puzzles, by its identity alone."""
    return int(short_hash(f"trivial {puzzle_id}"), 16) < share * 16**16
