"""Judging attempts while they are sampled, for stage 4 and the evaluation.

From the ledger of attempts to the ledger of verdicts, shard by shard, on the hosts' own cores but in separate processes
(verifier/fleet/beside.py), so that the accelerator never waits for a verdict, nor for the interpreter that makes it. A
shard is judged by whoever claims it first: a process of its owning host, of an idle host, or a fleet beside the run
(`python -m verifier follow RUN`). The claim of a process that died expires.
"""

import contextlib
import itertools
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from t5x_selfprog import hosts, preemption
from t5x_selfprog.stages.context import Context
from t5x_selfprog.telemetry import recorder
from t5x_selfprog.telemetry.shards import JUDGE
from t5x_selfprog.telemetry.watchdog import MAIN
from verifier.errors import UserError
from verifier.fleet.beside import REFUSED, Assignment, poll_s
from verifier.fleet.terms import Terms
from verifier.storage.records import ATTEMPT, VERDICT
from verifier.storage.shards import LedgerIncomplete

PATIENCE_S = 60.0
AT_ONCE = 2  # shards: while one waits for its last, slow attempts, the other uses the cores
QUEUE_EVERY_S = 10.0  # a shard takes minutes, so the queue is also recorded as it shrinks
LAST_WORDS_S = 1.0  # to wait for the report of a shard that is committed already
MOST_FAILURES = 3  # of one judge: its process is restarted after fewer


class Unwanted(Exception):
    """Nobody waits for these verdicts any more."""


def judge_attempts(
    context: Context,
    attempts_path: str,
    path: str,
    *,
    terms: Terms,
    writer_alive: Callable[[], bool] = lambda: True,
) -> None:
    """Judges the attempts in one ledger into another, following it as it grows, until every shard has its verdicts.

    The ledger is complete after `finish_verdicts`, which must not run in a thread beside device work.

    Raises:
      LedgerIncomplete: `writer_alive` turned false while attempts were missing.
      UserError: a judging process reported something that the user can fix.
      RuntimeError: judging processes died repeatedly.
    """
    ledger = context.ledger(path, "verdicts", VERDICT)
    if ledger.is_complete():
        return
    source = context.ledger(attempts_path, "solutions", ATTEMPT)
    if hosts.is_first():
        terms.save(path, attempts_path)  # from now on a fleet may judge
    here = context.experiment.judges == "hosts"
    told = time.monotonic()
    with contextlib.ExitStack() as stack:
        judges = [
            stack.enter_context(_Judge(_assignment(context, ledger.path, source.path, terms, number)))
            for number in range(AT_ONCE * here)
        ]
        # If this host was interrupted and left shards to judge, any of its judges may have claimed them.
        wanted = AT_ONCE if set(ledger.pending()) & set(source.committed()) else 0
        while pending := set(ledger.pending()):
            preemption.check()
            alive = writer_alive()  # asked before looking, so as not to miss the writer's last commit
            ready = pending & set(source.committed())
            if not alive and not ready:
                raise LedgerIncomplete(
                    f"{source.path}: shards {source.pending()[:8]} will not come; run its stage again."
                )
            wanted = max(wanted, len(ready))
            for judge in judges[:wanted]:
                judge.start()
            if ready and not here and time.monotonic() - told > PATIENCE_S:
                told = time.monotonic()
                print(
                    f"{len(ready)} shards wait for a fleet, as Experiment.judges says; a member is started by: "
                    f"python -m verifier follow {context.run.root}",
                    file=sys.stderr,
                )
            _listen(judges, poll_s(path))
        until = time.monotonic() + LAST_WORDS_S
        while any(judge.at_work for judge in judges) and time.monotonic() < until:
            _listen(judges, LAST_WORDS_S / 10)


def _assignment(context: Context, verdicts: str, attempts: str, terms: Terms, number: int) -> Assignment:
    return Assignment(
        attempts,
        verdicts,
        terms.as_dict(),
        # A restarted host resumes its own claims.
        owner=f"run-host-{hosts.index()}" + (f"-{number}" if number else ""),
        first=hosts.index(),
        hosts=hosts.count(),
        workers=context.experiment.workers,
        queue_every_s=QUEUE_EVERY_S,
    )


_numbers = itertools.count()  # number the judges that this process started


class _Judge:
    """One judging process, from `start` to the end of the block, and its reports.

    Attributes:
      at_work: whether it has begun a shard and not yet reported it as judged.
    """

    def __init__(self, work: Assignment):
        self._work = work
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = b""
        self._failures, self._why = 0, ""
        self._track = contextlib.ExitStack()
        self._name = f"{JUDGE} {next(_numbers)}"
        self.at_work = False

    def __enter__(self) -> "_Judge":
        return self

    def __exit__(self, *exception: object) -> None:
        self._track.close()
        if self._process is not None:
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.close()  # makes it exit
            self._process.wait()
            self._process.stdout.close()

    def start(self) -> None:
        """Starts the process unless it is running."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._work.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )

    def fileno(self) -> int | None:
        """The descriptor of its reports; None if it is not running."""
        if self._process is None or self._process.stdout is None or self._process.stdout.closed:
            return None
        return self._process.stdout.fileno()

    def hear(self) -> None:
        """Reads its reports. Raises what `judge_attempts` does."""
        place = self.fileno()
        assert place is not None and self._process is not None
        data = os.read(place, 1 << 16)
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._take(**json.loads(line))
        if not data:
            self._ended(self._process)

    def _ended(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        process.stdout.close()
        status = process.wait()
        self._stand_still()
        if status == REFUSED and self._why:
            raise UserError(self._why)
        self._failures += bool(status)
        if self._failures == MOST_FAILURES:
            raise RuntimeError(
                f"the process that judges {self._work.attempts} ended with status {status}, {MOST_FAILURES} times"
            )
        self._process, self._heard = None, b""  # the next process takes over its shard

    def _stand_still(self) -> None:
        self.at_work = False
        self._track.close()

    def _take(
        self,
        what: str,
        shard: int = 0,
        number: int | None = None,
        scalars: dict[str, Any] | None = None,
        why: str = "",
    ) -> None:
        watch = recorder.current()
        if what == "refused":
            self._why = why
        elif what == "began":
            self.at_work = True
            self._track.enter_context(watch.track(self._name, self._work.verdicts))
        elif what == "verdict":
            watch.beat(what, number, self._name)
        elif what == "queue":
            watch.record("queue", self._work.verdicts, shard, scalars or {})
        elif what == "judged":
            watch.record("judge", self._work.verdicts, shard, scalars or {})
            self._stand_still()


def _listen(judges: Sequence[_Judge], wait_s: float) -> None:
    """Reads judges' reports for `wait_s` seconds, or until one of them finishes its shard."""
    until, at_work = time.monotonic() + wait_s, sum(judge.at_work for judge in judges)
    while (left_s := until - time.monotonic()) > 0:
        poller, by_place = select.poll(), dict[int, _Judge]()
        for judge in judges:
            place = judge.fileno()
            if place is not None:
                poller.register(place, select.POLLIN)
                by_place[place] = judge
        for place, _ in poller.poll(1000 * left_s):
            by_place[place].hear()
        before, at_work = at_work, sum(judge.at_work for judge in judges)
        if at_work < before:
            return


def finish_verdicts(context: Context, path: str) -> None:
    """Completes a ledger of verdicts once all its shards are judged. Collective."""
    context.finish(context.ledger(path, "verdicts", VERDICT))


def overlapped(
    sample: Callable[[], None],
    judge: Callable[[Callable[[], bool]], None],
    path: str,
    *,
    part: str = "verdicts",
) -> Callable[[], None]:
    """Runs `sample` here and `judge` in a thread, which may continue while the caller does something else.

    Args:
      judge: is given a function that says whether samples still come, and raises if nobody waits for the verdicts any
        more.
      path: where the samples go; the time spent waiting for verdicts is recorded under this name.
      part: of the wall time, to which this waiting belongs.

    Returns:
      A function that waits until all is judged, and raises what `judge` raised.

    Raises:
      What `sample` raised.
    """
    watch, began = recorder.current(), time.monotonic()
    sampling, wanted = threading.Event(), threading.Event()
    sampling.set()
    wanted.set()
    raised: list[BaseException] = []

    def is_sampling() -> bool:
        if not wanted.is_set():
            raise Unwanted
        return sampling.is_set()

    def follow() -> None:
        try:
            judge(is_sampling)
        except BaseException as error:  # raised in `wait`
            raised.append(error)

    # A daemon, because nobody needs verdicts that the main thread no longer waits for.
    thread = threading.Thread(target=follow, name="judge", daemon=True)
    thread.start()

    def wait() -> None:
        started = time.monotonic()
        with watch.part(part), watch.track(MAIN, waits=True):
            try:
                thread.join()
            except BaseException:  # an interrupt, after which a notebook's process lives on
                wanted.clear()
                raise
        watch.waited(path, sampled - began, time.monotonic() - started)
        if raised:
            raise raised[0]

    try:
        sample()
    except BaseException:
        sampling.clear()
        thread.join()
        raise
    sampling.clear()
    sampled = time.monotonic()
    return wait
