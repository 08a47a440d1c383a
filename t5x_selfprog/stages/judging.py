"""Judging attempts while they are sampled: what stage 4 and the evaluation have in common.

From the ledger of attempts to the ledger of verdicts, shard by shard, on the hosts' own cores, so that the accelerator
never waits for a verdict. A shard is judged by whoever claims it first: the host that has sampled it, another that has
nothing to do, or a fleet beside the run (`python -m verifier follow RUN`). The claim of one that died runs out.
"""

import contextlib
import functools
import sys
import threading
import time
from collections.abc import Callable

from t5x_selfprog import hosts
from t5x_selfprog.stages.context import Context
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.shards import JUDGE, JudgingMeter
from t5x_selfprog.telemetry.watchdog import MAIN
from verifier import files
from verifier.claims import prolonging
from verifier.records import ATTEMPT, VERDICT
from verifier.shards import Ledger, LedgerIncomplete
from verifier.terms import ShardJudge, Terms

POLL_S = 0.2
POLL_REMOTE_S = 2.0
CLAIM_S = 60.0  # until a host that said nothing has lost its shard
PATIENCE_S = 60.0


def judge_attempts(
    context: Context,
    attempts_path: str,
    path: str,
    *,
    terms: Terms,
    writer_alive: Callable[[], bool] = lambda: True,
) -> None:
    """Judges the attempts in one ledger into another, following it as it grows, until every shard has its verdicts.

    The ledger is complete after `finish_verdicts`, which may not run in a thread beside device work.

    Raises LedgerIncomplete if `writer_alive` turns false while attempts are missing.
    """
    ledger = context.ledger(path, "verdicts", VERDICT)
    if ledger.is_complete():
        return
    source = context.ledger(attempts_path, "solutions", ATTEMPT)
    if hosts.is_first():
        terms.save(path, attempts_path)  # from now on a fleet may begin
    poll_s = POLL_REMOTE_S if files.is_remote(path) else POLL_S
    # The same host, started again, takes its own claims up where it left them.
    owner, told = f"run-host-{hosts.index()}", time.monotonic()
    make_pool = functools.partial(context.pool, track=JUDGE)
    with contextlib.ExitStack() as pools:
        judge: ShardJudge | None = None
        while pending := set(ledger.pending()):
            alive = writer_alive()  # before looking: its last commit must not be missed
            ready = sorted(pending & set(source.committed()), key=lambda i: (not hosts.is_mine(i), i))
            mine = None
            if context.experiment.judges == "hosts":
                mine = next((shard for shard in ready if ledger.claim(shard, owner, CLAIM_S)), None)
            if mine is not None:
                if judge is None:
                    judge = pools.enter_context(ShardJudge(terms, make_pool))
                _judge_shard(source, ledger, mine, judge, owner)
                told = time.monotonic()
                continue
            if not alive and source.pending():
                raise LedgerIncomplete(
                    f"{source.path}: shards {source.pending()[:8]} will not come; run its stage again."
                )
            if ready and context.experiment.judges == "fleet" and time.monotonic() - told > PATIENCE_S:
                told = time.monotonic()
                print(
                    f"{len(ready)} shards wait for a fleet, as Experiment.judges says; a member is started by: "
                    f"python -m verifier follow {context.run.root}",
                    file=sys.stderr,
                )
            time.sleep(poll_s)


def _judge_shard(source: Ledger, ledger: Ledger, shard: int, judge: ShardJudge, owner: str) -> None:
    """Judges a shard that was claimed, and commits it unless somebody else did while we were away."""
    with recorder.current().track(JUDGE, ledger.path):
        try:
            attempts = list(source.read(shard))
            meter = JudgingMeter(source, ledger, shard, len(attempts))
            # if a claim fails, the commit will too
            prolong = prolonging(functools.partial(ledger.claim, shard, owner, CLAIM_S), CLAIM_S)

            def beat() -> None:
                meter.verdict()
                prolong()

            judged, counters = judge(attempts, beat)
            ledger.commit(shard, judged, **counters)
            meter.committed(judged)
        finally:
            ledger.release(shard)


def finish_verdicts(context: Context, path: str) -> None:
    """Completes a ledger of verdicts once all of its shards are judged. Collective."""
    context.finish(context.ledger(path, "verdicts", VERDICT))


def overlapped(sample: Callable[[], None], judge: Callable[[Callable[[], bool]], None], path: str) -> None:
    """Runs `sample` here and `judge` in a thread beside it; what either raises is raised here.

    `path`: what is sampled goes there; how long judging goes on after the last of it is recorded under that name.
    """
    watch, began = recorder.current(), time.monotonic()
    sampling = threading.Event()
    sampling.set()
    raised: list[BaseException] = []

    def follow() -> None:
        try:
            judge(sampling.is_set)
        except BaseException as error:  # handed to the caller below
            raised.append(error)

    thread = threading.Thread(target=follow, name="judge")
    thread.start()
    try:
        sample()
    finally:
        sampling.clear()
        sampled = time.monotonic()
        with watch.part("verdicts"), watch.track(MAIN, waits=True):
            thread.join()
        watch.waited(path, sampled - began, time.monotonic() - sampled)
    if raised:
        raise raised[0]
