"""A fleet: hosts that judge what a run samples, in all its stages, until the run is over.

Reads:    RUN/**/terms.json, which a run puts beside the verdicts it wants, and the ledgers of attempts that they name.
Writes:   verdict shards in the run's own ledgers, by claims that expire, as the run's hosts do themselves.
Restart:  the shard. Start members and kill them whenever you like.
Ends:     when the run has written its summary.
Left out: completing a ledger, which is the run's to do.
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping

from verifier.fleet.metrics import Metrics
from verifier.fleet.service import LedgerWork, serve
from verifier.fleet.terms import NAME, MakePool, ShardJudge, Terms
from verifier.storage import files

UNTIL = "summary.json"
# Folders of a run that hold no verdicts but may hold very many files.
_SKIPPED = ("6_checkpoints", "events", "profile", "report", "1_puzzles", "2_kept", "2_rejected", "5_dataset")
_DEPTH = 6  # RUN/runs/NAME/controls/ARM/7_eval/verdicts, of a study
PATIENCE_S = 60.0


class _Shards(LedgerWork):
    """Some shards of a run's ledger, which it completes itself."""

    def is_over(self) -> bool:
        return False

    def finish(self, facts: Mapping[str, float]) -> None:
        raise NotImplementedError("a run completes its own ledgers")


def follow(
    run: files.Path,
    make_pool: MakePool,
    metrics: Metrics,
    *,
    until: str = UNTIL,
    poll_s: float = 2.0,
    claim_s: float = 120.0,
    once: bool = False,
) -> None:
    """Judges attempts as they come until the file `until` is in the run's folder; with `once`, only those there now.

    Args:
      make_pool: from limits and a hash seed; every stage names its own.
      metrics: its counters grow.

    Raises UserError for a run of another version of the verifier, BadShards for attempts that cannot be read.
    """
    complete: set[str] = set()  # ledgers that need not be looked at again
    told = time.monotonic()
    with contextlib.ExitStack() as stack:
        terms: Terms | None = None
        while True:
            over = files.exists(files.join(run, until))  # before looking, so as not to miss what came last
            before = metrics.counters["shards"] + metrics.counters["shards_lost_to_others"]
            for verdicts in _wanted(files.join(run), complete, _DEPTH):
                found, attempts = Terms.load(verdicts)
                work = _Shards(attempts, verdicts)
                if not work.open_shards():
                    continue
                if found != terms:
                    stack.close()
                    judge, terms = stack.enter_context(ShardJudge(found, make_pool)), found
                serve(work, judge, metrics, facts={}, poll_s=poll_s, claim_s=claim_s, once=True)
            idle = metrics.counters["shards"] + metrics.counters["shards_lost_to_others"] == before
            if over or (once and idle):
                break
            if not idle:
                told = time.monotonic()
            elif time.monotonic() - told > PATIENCE_S:
                told = time.monotonic()
                what = "nothing to judge in" if files.is_folder(run) else "waiting for a run to begin in"
                print(f"fleet: {what} {run}", file=sys.stderr, flush=True)
            metrics.write()
            if idle:
                time.sleep(poll_s)
    metrics.write(now=True)


def _wanted(folder: str, complete: set[str], depth: int) -> Iterator[str]:
    """Folders below, in order of their names, in which verdicts are wanted. Adds those that are done to `complete`."""
    try:
        names = sorted(files.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    if "manifest.json" in names:
        complete.add(folder)
    elif NAME in names:
        yield folder
    elif depth and "ledger.json" not in names:
        for name in names:
            inside = files.join(folder, name)
            if "." not in name and name not in _SKIPPED and inside not in complete:
                yield from _wanted(inside, complete, depth - 1)
