"""Judging beside a run: a process that follows one ledger of attempts and writes the ledger of verdicts.

Reads:    the ledger of attempts as it grows.
Writes:   shards of verdicts, by claims that expire, as a fleet's members do (follow.py).
Restart:  the shard. Its starter reads on its standard output what it does, a JSON object a line, and ends it by
          closing its standard input, which the kernel does for a starter that was killed.
Ends:     when every shard has its verdicts.
Left out: completing the ledger, which is the run's to do.

It is a process of its own, because the thread that keeps an accelerator busy should not share its interpreter.
Several may work on one ledger, each on a shard of its own: slow last attempts of one then leave no core idle.
"""

import contextlib
import json
import os
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from verifier.errors import UserError
from verifier.fleet.terms import ShardJudge, Terms
from verifier.pool import Pool
from verifier.storage import files
from verifier.storage.claims import prolonging
from verifier.storage.shards import Ledger

POLL_S = 0.2
POLL_REMOTE_S = 2.0
BEAT_S = 0.2
REFUSED = 2  # exit status for what the user can put right

Say = Callable[..., None]


def poll_s(path: files.Path) -> float:
    """Seconds between looks into a ledger there."""
    return POLL_REMOTE_S if files.is_remote(path) else POLL_S


@dataclass(frozen=True)
class Assignment:
    """What one process judges.

    Attributes:
      attempts, verdicts: folders of ledgers; both exist.
      terms: as `Terms.as_dict` gives them.
      owner: of its claims. A process restarted under the same name takes up its shards at once.
      first, hosts: shards whose number modulo `hosts` is `first` come before others.
      workers: of its pool; None is one a core.
      claim_s: after so long a silence, a process has lost its shard.
      queue_every_s: how often it reports the queue while it judges a shard.
    """

    attempts: str
    verdicts: str
    terms: dict[str, Any]
    owner: str
    first: int = 0
    hosts: int = 1
    workers: int | None = None
    claim_s: float = 60.0
    queue_every_s: float = 10.0

    def command(self) -> list[str]:
        root = str(pathlib.Path(__file__).resolve().parents[2])
        code = "import sys; sys.path.insert(0, sys.argv[1]); from verifier.fleet.beside import main; main(sys.argv[2])"
        return [sys.executable, "-c", code, root, json.dumps(asdict(self))]


def judge_ledger(work: Assignment, say: Say) -> None:
    """Judges until every shard is judged, by whomever; waits for shards that others hold."""
    source, ledger = Ledger.open(work.attempts), Ledger.open(work.verdicts)
    with contextlib.ExitStack() as pools:
        judge: ShardJudge | None = None
        while pending := set(ledger.pending()):
            ready = sorted(
                pending & set(source.committed()), key=lambda shard: (shard % work.hosts != work.first, shard)
            )
            mine = next((shard for shard in ready if ledger.claim(shard, work.owner, work.claim_s)), None)
            if mine is None:
                time.sleep(poll_s(work.verdicts))
            else:
                if judge is None:
                    make_pool = partial(_pool, work.workers)
                    judge = pools.enter_context(ShardJudge(Terms.from_dict(work.terms), make_pool))
                _judge_shard(source, ledger, mine, judge, work, say)


def _judge_shard(
    source: Ledger, ledger: Ledger, shard: int, judge: ShardJudge, work: Assignment, say: Say
) -> None:
    """Judges a claimed shard, and commits it unless another process did in the meantime."""
    began = told = said = time.monotonic()
    number = 0
    try:
        attempts = list(source.read(shard))
        say("began", shard=shard)
        # if a claim fails, the commit will too
        prolong = prolonging(partial(ledger.claim, shard, work.owner, work.claim_s), work.claim_s)

        def beat() -> None:
            nonlocal number, told, said
            number += 1
            now = time.monotonic()
            if now - said > BEAT_S:
                said = now
                say("verdict", number=number)
            if now - told > work.queue_every_s:
                told = now
                say(
                    "queue",
                    shard=shard,
                    scalars=_queue(source, ledger, shard, max(0, len(attempts) - number)),
                )
            prolong()

        judged, counters = judge(attempts, beat)
        ledger.commit(shard, judged, **counters)
    finally:
        ledger.release(shard)
    seconds = max(time.monotonic() - began, 1e-9)
    scalars = {
        "verdicts": len(judged),
        "verdicts_per_s": len(judged) / seconds,
        "seconds": seconds,
        "cpu_s": float(sum(record["cpu_s"] for record in judged)),
        "accepted": sum(record["outcome"] == "accepted" for record in judged),
    }
    say("judged", shard=shard, scalars=scalars | _queue(source, ledger, shard, 0))


def _queue(source: Ledger, ledger: Ledger, shard: int, in_pool: int) -> dict[str, int]:
    """Sampled but not judged: shards, their attempts, and those of them that the pool has or is about to get."""
    waiting = set(source.committed()) & set(ledger.pending())
    rows = sum(int(source.entry(other)["rows"]) for other in waiting - {shard})
    return {"queue_shards": len(waiting), "queue_attempts": rows + in_pool, "in_pool": in_pool}


def _pool(workers: int | None, limits: Any, hash_seed: int) -> Pool:
    return Pool(workers, limits, hash_seed=hash_seed)


def main(assignment: str) -> None:
    """The process. Exit status: 0 when all is judged, REFUSED after saying why the user must do something first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then ends us
    threading.Thread(target=_end_with_starter, daemon=True).start()

    def say(what: str, **about: Any) -> None:
        print(json.dumps({"what": what, **about}), flush=True)

    try:
        judge_ledger(Assignment(**json.loads(assignment)), say)
    except UserError as error:
        say("refused", why=str(error))
        sys.exit(REFUSED)


def _end_with_starter() -> None:
    """Ends this process once nobody holds the other end of its standard input. Its workers end with it."""
    while os.read(0, 1):
        pass
    os._exit(1)
