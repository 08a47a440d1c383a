"""The service: follows a folder of attempt shards and writes verdict shards, beside any number of other hosts.

Reads:    a ledger of attempts as it grows (shards.py), or any folder into which *.tfrecord files are renamed.
Writes:   a verdict shard for each, whole or not at all, and its entry, by which it is committed.
Restart:  the shard. A host claims one at a time and prolongs its claim while it judges; a claim that ran out is
          taken over by whoever looks next, and a commit after that is dropped. Nothing is lost, nothing is doubled.
Ends:     when every shard of the ledger is judged; for a folder without a ledger, when a file COMPLETE has appeared
          in it and all shards are judged.
Left out: a network protocol. The folder is the queue.
"""

import json
import os
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

from verifier.errors import UserError
from verifier.fleet.metrics import Metrics
from verifier.storage import files
from verifier.storage.claims import Claims, prolonging
from verifier.storage.records import ATTEMPT, VERDICT, RecordError, encode_all, read_tfrecord
from verifier.storage.shards import Ledger
from verifier.storage.tfrecord import CorruptRecordError, write_frames
from verifier.verdict import Verdict

COMPLETE = "COMPLETE"
SUFFIX = ".tfrecord"

Records = Iterator[dict[str, Any]]
Judge = Callable[[Iterable[Mapping[str, Any]]], Iterator[Verdict]]
# From a shard's attempts, and what to call at every verdict, to the records of its verdicts, and the shard's counters.
JudgeShard = Callable[[list[dict[str, Any]], Callable[[], None]], tuple[list[dict[str, Any]], dict[str, int]]]


class BadShards(UserError):
    """Shards of attempts that cannot be read; all others were judged."""


class _Superseded(Exception):
    """Another host was quicker."""


class Work(Protocol):
    """Shards to judge, by name."""

    def open_shards(self) -> list[str]:
        """Those whose attempts are there and whose verdicts are not."""

    def claim(self, shard: str, owner: str, ttl_s: float) -> bool:
        """True if `owner` may judge it during the next `ttl_s` seconds; claim again to prolong."""

    def release(self, shard: str) -> None:
        """Gives up a claim before it expires."""

    def read(self, shard: str) -> Records:
        """Its attempts. Raises CorruptRecordError or RecordError."""

    def commit(self, shard: str, records: list[dict[str, Any]], counters: Mapping[str, int]) -> bool:
        """False if somebody else did, or the claim ran out."""

    def is_over(self) -> bool:
        """Whether no more shards will come."""

    def finish(self, facts: Mapping[str, float]) -> None:
        """Records that all is judged; repeating this is harmless."""


class LedgerWork:
    """From one ledger to another with as many shards."""

    def __init__(self, attempts: files.Path, verdicts: files.Path):
        self._source = Ledger.open(attempts)
        self._ledger = Ledger(
            verdicts,
            stage="verdicts",
            schema=VERDICT,
            shard_count=self._source.shard_count,
            seed=self._source.seed,
            fingerprint=self._source.fingerprint,
        )

    def open_shards(self) -> list[str]:
        return [str(i) for i in sorted(set(self._source.committed()) & set(self._ledger.pending()))]

    def claim(self, shard: str, owner: str, ttl_s: float) -> bool:
        return self._ledger.claim(int(shard), owner, ttl_s)

    def release(self, shard: str) -> None:
        self._ledger.release(int(shard))

    def read(self, shard: str) -> Records:
        return self._source.read(int(shard))

    def commit(self, shard: str, records: list[dict[str, Any]], counters: Mapping[str, int]) -> bool:
        return self._ledger.commit(int(shard), records, **counters)

    def is_over(self) -> bool:
        return not self._source.pending()

    def finish(self, facts: Mapping[str, float]) -> None:
        if not self._ledger.is_complete():
            self._ledger.finish(**facts)


class FolderWork:
    """From any TFRecord files of attempts to files of the same names in another folder, each with its entry."""

    def __init__(self, attempts: files.Path, verdicts: files.Path):
        self._source, self._folder = attempts, verdicts
        files.makedirs(verdicts)
        files.remove_leftovers(verdicts)
        self._claims = Claims(verdicts)

    def open_shards(self) -> list[str]:
        there = {name.removesuffix(SUFFIX) for name in files.listdir(self._source) if name.endswith(SUFFIX)}
        return sorted(shard for shard in there - self._committed() if not shard.startswith("."))

    def _committed(self) -> set[str]:
        names = files.listdir(self._folder)
        return {name.removesuffix(".json") for name in names if name.endswith(".json")}

    def claim(self, shard: str, owner: str, ttl_s: float) -> bool:
        if shard in self._committed() or not self._claims.claim(shard, owner, ttl_s):
            return False
        if shard in self._committed():  # by the previous holder, while we took over
            self._claims.forget(shard)
            return False
        return True

    def release(self, shard: str) -> None:
        self._claims.release(shard)

    def read(self, shard: str) -> Records:
        return read_tfrecord(files.join(self._source, shard + SUFFIX), ATTEMPT)

    def commit(self, shard: str, records: list[dict[str, Any]], counters: Mapping[str, int]) -> bool:
        try:
            with files.open_atomic(files.join(self._folder, shard + SUFFIX)) as file:
                info = write_frames(file, encode_all(records, VERDICT))
                # asked last, since writing may take long, as shards.Ledger does
                if shard in self._committed() or not self._claims.holds(shard):
                    raise _Superseded
        except _Superseded:
            return False
        entry = {"rows": info.rows, "bytes": info.bytes, "sha256": info.sha256, "counters": dict(counters)}
        text = json.dumps(entry, sort_keys=True, indent=1) + "\n"
        committed = files.create_exclusive(files.join(self._folder, f"{shard}.json"), text.encode())
        self._claims.forget(shard)
        return committed

    def is_over(self) -> bool:
        return files.exists(files.join(self._source, COMPLETE))

    def finish(self, facts: Mapping[str, float]) -> None:
        self._claims.forget_all()
        files.write_atomic(files.join(self._folder, COMPLETE), json.dumps(dict(facts)) + "\n")


def find_work(attempts: files.Path, verdicts: files.Path) -> Work:
    """A ledger where there is one, else a plain folder."""
    has_ledger = files.exists(files.join(attempts, "ledger.json"))
    return LedgerWork(attempts, verdicts) if has_ledger else FolderWork(attempts, verdicts)


def recording(judge: Judge) -> JudgeShard:
    """Judges shards with `judge`: one record for each attempt. (No `count`, by which readers multiply a record.)"""

    def judge_shard(
        attempts: list[dict[str, Any]], beat: Callable[[], None]
    ) -> tuple[list[dict[str, Any]], dict[str, int]]:
        records, outcomes = [], Counter[str]()
        for attempt, verdict in zip(attempts, judge(attempts), strict=True):
            records.append(verdict.as_record(attempt))
            outcomes[verdict.outcome] += 1
            beat()
        return records, {name: outcomes[name] for name in ("accepted", "infrastructure")}

    return judge_shard


def serve(
    work: Work,
    judge: JudgeShard,
    metrics: Metrics,
    *,
    facts: Mapping[str, float],
    poll_s: float = 2.0,
    claim_s: float = 120.0,
    once: bool = False,
) -> None:
    """Judges until the work is over; with `once`, what is there now.

    facts: figures of this host that go into the manifest.
    claim_s: how long a claim on a shard lasts; we prolong it every third of that.

    Raises BadShards, at the end, for shards that could not be read.
    """
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    bad: dict[str, str] = {}
    while True:
        over = work.is_over()  # before looking, so as not to miss what was added last
        left = [shard for shard in work.open_shards() if shard not in bad]
        if not left and (over or once):
            break
        judged = 0
        for shard in left:
            try:  # around the claim too: SIGTERM may come when it has just been made
                if not work.claim(shard, owner, claim_s):
                    continue
                judged += 1
                _judge_shard(work, shard, judge, metrics, partial(work.claim, shard, owner, claim_s), claim_s)
            except (CorruptRecordError, RecordError) as e:
                bad[shard] = str(e)
                metrics.counters["bad_shards"] += 1
            finally:
                work.release(shard)
        metrics.write()
        if not judged:  # nothing is there yet, or others hold it: they may die
            if once:
                break
            time.sleep(poll_s)
    metrics.write(now=True)
    if bad:
        raise BadShards(f"{len(bad)} shards were not judged: " + "; ".join(bad.values()))
    if over:
        work.finish(facts)


def _judge_shard(
    work: Work, shard: str, judge: JudgeShard, metrics: Metrics, prolong: Callable[[], bool], claim_s: float
) -> None:
    def at_work() -> None:
        prolong()  # if that fails, the commit will too
        metrics.write()

    records, counters = judge(list(work.read(shard)), prolonging(at_work, claim_s))
    if work.commit(shard, records, counters):
        metrics.outcomes.update(record["outcome"] for record in records)
        metrics.counters["shards"] += 1
    else:
        metrics.counters["shards_lost_to_others"] += 1
    metrics.write()
