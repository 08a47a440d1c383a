"""The worker process of a pool: takes batches from a pipe, judges them in forked children, answers on a pipe.

It is started as a fresh interpreter, imports nothing heavy and never runs a candidate itself; so a fork of
it costs half a millisecond, and nothing a candidate does survives in it. It ends when its pipe does.

Messages in:   ("config", isolation, require, imports, once), at first, then
               ("judge", number, limits, puzzles, solutions, which), ("screen", number, limits, puzzles) or
               ("ask", number, limits, puzzles, lists of encoded answers, which, patience), or
               ("answer", number, limits, solutions, most bytes)
Messages out:  ("hello", layers, notes), then ("alive",) about every second while at work, and
               ("judged", number, outcomes, details, cpu_s, peak_mb, answers, without, counted), where `without`
               are the places that have no answer, ("screened", number, rows), ("asked", number, letters) or
               ("answered", number, encoded answers)
"""

import gc
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from verifier.former_names import name_loaded
from verifier.language import policy
from verifier.sandbox import host_limits, isolation, sweep
from verifier.worker import wire
from verifier.worker.forker import Forker
from verifier.worker.judge import Judge
from verifier.worker.questions import letters
from verifier.worker.runtime import Allowance, Runtime
from verifier.worker.trivial import screen_puzzles
from verifier.worker.watch import Nursery

STDIN, STDOUT = 0, 1


def main() -> NoReturn:
    """The process's whole life."""
    try:
        _serve()
    except (wire.WireClosed, BrokenPipeError):
        os._exit(0)


def _serve() -> NoReturn:
    host_limits.raise_soft()
    _, level, require, imports, once = wire.receive(STDIN)
    allowed = policy.IMPORTS[imports]
    policy.import_modules(allowed)
    try:
        established = isolation.establish(level, require)
    except isolation.IsolationError as e:
        wire.send(STDOUT, ("refused", str(e)))
        os._exit(0)
    sys.path[:] = []
    end_if_orphan = partial(_end_if_orphan, os.getppid())

    def heartbeat() -> None:
        end_if_orphan()
        wire.send(STDOUT, ("alive",))

    runtime = Runtime.make(allowed, once=once)
    name_loaded()
    gc.collect()
    gc.freeze()  # a collection in a child would write to every page that it shares with us, and so copy it
    forker = Forker.start(established.jail, runtime, heartbeat)
    jail = established.jail._replace(sweep=_sparing(established.jail.sweep, forker.process))
    judge = Judge(Nursery(jail, heartbeat, STDIN), forker, runtime)
    wire.send(STDOUT, ("hello", str(established), established.notes))
    try:
        while True:
            wire.send(STDOUT, _answer(judge, wire.receive(STDIN, end_if_orphan)))
    finally:
        forker.stop()


def _sparing(chosen: Callable[[int], None], forker: int) -> Callable[[int], None]:
    """The sweep for our own children, which run puzzles: it spares the forker. (The forker's own sweep gets the
    rest.)"""
    if chosen is sweep.namespace:
        return sweep.group
    return partial(sweep.orphans, spared=frozenset({forker})) if chosen is sweep.orphans else chosen


def _end_if_orphan(parent: int) -> None:
    """Our pipe ends with our parent, unless a forked copy of the parent holds it too, so check both."""
    if os.getppid() != parent:
        os._exit(0)


def _answer(judge: Judge, message: Any) -> tuple:
    kind, number, limits, puzzles = message[:4]
    if kind == "screen":
        return "screened", number, screen_puzzles(judge, puzzles, Allowance(*limits))
    if kind == "ask":
        answers, which, (total_s, ends) = message[4:]
        return "asked", number, letters(judge, puzzles, answers, which, Allowance(*limits), total_s, ends)
    if kind == "answer":
        return "answered", number, judge.answers(puzzles, message[4], Allowance(*limits))
    solutions, which = message[4:]
    verdicts, counted = judge.judge(puzzles, solutions, which, Allowance(*limits))
    return (
        "judged",
        number,
        [verdict.outcome for verdict in verdicts],
        [verdict.detail for verdict in verdicts],
        [verdict.cpu_s for verdict in verdicts],
        [verdict.peak_kb / 1024 for verdict in verdicts],
        [verdict.answer or "" for verdict in verdicts],
        [place for place, verdict in enumerate(verdicts) if verdict.answer is None],
        counted,
    )
