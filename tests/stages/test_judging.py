"""Judging from ledger to ledger, here and in separate processes: several shards at once, killed, refused, orphaned."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from t5x_selfprog.stages.judging import finish_verdicts, judge_attempts, overlapped
from tests.stages.test_attempts import EASY, HARD, LIMITS, OneShard, sample
from tests.telemetry.test_shards import ThreeShards, observed, of_kind
from verifier import Pool
from verifier.errors import UserError
from verifier.fleet.beside import Assignment
from verifier.fleet.follow import follow
from verifier.fleet.metrics import Metrics
from verifier.fleet.terms import Terms
from verifier.storage.records import ATTEMPT, VERDICT
from verifier.storage.shards import Ledger, LedgerIncomplete

ENDLESS = "def g(a=3):\n    while True:\n        pass\n"


def attempt(puzzle, solution, index=0):
    return {
        "puzzle_id": "p", "puzzle": puzzle, "solution": solution, "sample_index": index, "logprob": 0.0,
        "n_tokens": 1, "stop_reason": "eos", "checkpoint": "c",
    }  # fmt: skip


def sampled(root, shards):
    """A context, the path of a ledger of these attempts, and the path for their verdicts."""
    context = ThreeShards()
    attempts, verdicts = str(root / "3"), str(root / "4")
    source = context.ledger(attempts, "solutions", ATTEMPT)
    for shard, records in enumerate(shards):
        source.commit(shard, records)
    return context, attempts, verdicts


def plain(number):
    return [attempt(EASY, f"def g(a=3):\n    return {number} * {i}\n", i) for i in range(20)]


def outcomes(path):
    return [(v["solution"], v["outcome"], v["answer"]) for v in Ledger.open(path)]


def judges():
    """The process ids of this process's judges."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            with open(f"/proc/{pid}/stat") as file:
                parent = file.read().rpartition(")")[2].split()[1]
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read()
            if parent == str(os.getpid()) and b"verifier.fleet.beside" in command:
                found.append(int(pid))
    return found


def runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# By this process.


def test_equal_attempts_are_judged_once_and_all_keep_the_verdict(tmp_path):
    context, attempts, _ = sample(tmp_path / "3")
    judge_attempts(context, str(tmp_path / "3"), str(tmp_path / "4"), terms=Terms(LIMITS))
    finish_verdicts(context, str(tmp_path / "4"))
    ledger = Ledger.open(str(tmp_path / "4"))
    verdicts = list(ledger)
    assert ledger.counters()["distinct"] == 40 and len(verdicts) == 80
    assert [v["sample_index"] for v in verdicts] == [a["sample_index"] for a in attempts]
    right = [v["outcome"] == "accepted" for v in verdicts if v["puzzle_id"] == "easy"]
    assert right == [i // 2 > 3 for i in range(40)]
    assert ledger.counters()["accepted"] == sum(right)


def test_what_depends_on_the_hash_seed_is_not_certified(tmp_path):
    first_of_set = "def g(words=['alpha', 'beta', 'gamma', 'delta']):\n    return next(iter(set(words)))\n"
    with Pool(workers=1, limits=LIMITS) as pool:
        (seen,) = pool.judge([{"puzzle": "def f(s: str):\n    return True", "solution": first_of_set}])
    puzzle = f"def f(s: str, words=['alpha', 'beta', 'gamma', 'delta']):\n    return s == {seen.answer}"
    honest = first_of_set.replace("next(iter(set(words)))", seen.answer)
    attempts = [
        {"puzzle_id": "p", "puzzle": puzzle, "solution": text, "sample_index": i, "logprob": 0.0, "n_tokens": 1,
         "stop_reason": "eos", "checkpoint": "c"}
        for i, text in enumerate((first_of_set, honest))
    ]  # fmt: skip
    context = OneShard()
    context.ledger(str(tmp_path / "3"), "solutions", ATTEMPT).commit(0, attempts)
    judge_attempts(
        context,
        str(tmp_path / "3"),
        str(tmp_path / "4"),
        terms=Terms(LIMITS, generality_trials=2, certify_seed=1),
    )
    ledger = Ledger.open(str(tmp_path / "4"))
    assert [verdict["outcome"] for verdict in ledger] == ["unstable", "accepted"]
    assert ledger.counters()["unstable"] == ledger.counters()["accepted"] == 1


def test_what_is_left_to_a_fleet_is_judged_by_it_alike(tmp_path):
    ours, _, _ = sample(tmp_path / "ours" / "3")
    judge_attempts(ours, str(tmp_path / "ours" / "3"), str(tmp_path / "ours" / "4"), terms=Terms(LIMITS))
    context, _, _ = sample(tmp_path / "run" / "3")
    context.experiment = SimpleNamespace(judges="fleet", workers=1)
    thread = threading.Thread(
        target=judge_attempts,
        args=(context, str(tmp_path / "run" / "3"), str(tmp_path / "run" / "4")),
        kwargs={"terms": Terms(LIMITS)},
    )
    thread.start()
    thread.join(1.0)
    assert thread.is_alive() and Ledger.open(tmp_path / "run" / "4").pending() == [0]
    follow(
        tmp_path / "run", lambda limits, seed: Pool(1, limits, hash_seed=seed), Metrics(None, {}), once=True
    )
    thread.join(30.0)
    assert not thread.is_alive()
    finish_verdicts(context, str(tmp_path / "run" / "4"))
    mine, theirs = (
        [
            {k: v for k, v in row.items() if k not in ("cpu_s", "peak_mb")}
            for row in Ledger.open(folder / "4").read(0)
        ]
        for folder in (tmp_path / "ours", tmp_path / "run")
    )
    assert mine == theirs


def test_the_shard_of_a_host_that_died_is_judged_once_its_claim_ran_out(tmp_path):
    context, _, _ = sample(tmp_path / "3")
    dead = context.ledger(str(tmp_path / "4"), "verdicts", VERDICT)
    assert dead.claim(0, "run-host-7", 2.0)
    began = time.monotonic()
    judge_attempts(context, str(tmp_path / "3"), str(tmp_path / "4"), terms=Terms(LIMITS))
    assert time.monotonic() - began > 1.0 and not dead.pending()


@pytest.mark.parametrize("owner", ["run-host-0", "run-host-0-1"])
def test_a_host_that_comes_back_takes_up_its_own_at_once(tmp_path, owner):
    """Whichever of its processes claimed them."""
    again, _, _ = sample(tmp_path / "3")
    assert again.ledger(str(tmp_path / "4"), "verdicts", VERDICT).claim(0, owner, 600.0)
    began = time.monotonic()
    judge_attempts(again, str(tmp_path / "3"), str(tmp_path / "4"), terms=Terms(LIMITS))
    assert time.monotonic() - began < 300


def test_attempts_that_will_not_come_are_not_waited_for(tmp_path):
    context = OneShard()
    with pytest.raises(LedgerIncomplete, match=r"shards \[0\] will not come"):
        judge_attempts(
            context, str(tmp_path / "3"), str(tmp_path / "4"), terms=Terms(LIMITS), writer_alive=lambda: False
        )


# In separate processes.


def test_a_slow_end_of_one_shard_does_not_hold_up_the_next(tmp_path):
    slow = [attempt(HARD, ENDLESS.replace("pass", f"{i}"), i) for i in range(3)]
    context, attempts, verdicts = sampled(tmp_path, [slow, plain(1), plain(2)])
    with observed(tmp_path):
        judge_attempts(context, attempts, verdicts, terms=Terms(LIMITS))
    assert [line["shard"] for line in of_kind(tmp_path, "judge")] == [1, 2, 0]
    assert {outcome for _, outcome, _ in outcomes(verdicts)[:3]} == {"cpu_limit"}
    assert not judges()


def test_a_process_that_was_killed_at_work_changes_nothing(tmp_path):
    slow = [attempt(HARD, ENDLESS.replace("pass", f"{i}"), i) for i in range(4)]
    shards = [plain(1) + slow, plain(2), plain(3)]
    context, attempts, verdicts = sampled(tmp_path / "killed", shards)
    thread = threading.Thread(
        target=judge_attempts, args=(context, attempts, verdicts), kwargs={"terms": Terms(LIMITS)}
    )
    thread.start()
    ledger = context.ledger(verdicts, "verdicts", VERDICT)
    killed = 0
    while 0 in ledger.pending():
        if killed < 2 and not ledger.claim(0, "another", 0.0):  # at work on the first shard
            for pid in judges():
                os.kill(pid, signal.SIGKILL)
                killed += 1
        time.sleep(0.2)
    thread.join(30)
    assert killed and not thread.is_alive()
    whole, attempts, unbroken = sampled(tmp_path / "whole", shards)
    judge_attempts(whole, attempts, unbroken, terms=Terms(LIMITS))
    assert outcomes(verdicts) == outcomes(unbroken)
    assert ledger.counters() == Ledger.open(unbroken).counters()


def test_what_a_process_refuses_is_said_here(tmp_path):
    context, attempts, verdicts = sampled(tmp_path, [plain(1), plain(2), plain(3)])
    path = tmp_path / "3" / "part-00001-of-00003.tfrecord"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"part-00001-of-00003.tfrecord: corrupt at byte 0"):
        judge_attempts(context, attempts, verdicts, terms=Terms(LIMITS))
    assert 1 in Ledger.open(verdicts).pending() and not judges()


def test_a_process_that_cannot_judge_is_given_up(tmp_path, monkeypatch):
    context, attempts, verdicts = sampled(tmp_path, [plain(1), plain(2), plain(3)])
    monkeypatch.setattr(Assignment, "command", lambda self: ["sh", "-c", "exit 3"])
    with pytest.raises(RuntimeError, match="status 3, 3 times"):
        judge_attempts(context, attempts, verdicts, terms=Terms(LIMITS))


def test_it_ends_with_whoever_started_it(tmp_path):
    context, attempts, verdicts = sampled(tmp_path, [[attempt(HARD, ENDLESS)]])  # and two that never come
    context.ledger(verdicts, "verdicts", VERDICT)
    work = Assignment(attempts, verdicts, Terms(LIMITS).as_dict(), "me", workers=1)
    code = (
        "import json, subprocess, sys; p = subprocess.Popen(json.loads(sys.argv[1]), stdin=subprocess.PIPE); "
        "print(p.pid, flush=True); p.wait()"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(work.command())], stdout=subprocess.PIPE
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    assert b"began" in starter.stdout.readline()
    starter.kill()
    starter.wait()
    starter.stdout.close()
    until = time.monotonic() + 20
    while runs(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not runs(pid)


def test_what_follows_on_the_devices_does_not_wait_for_verdicts(tmp_path):
    slow, order = threading.Event(), []

    def judge(alive):
        while alive():
            time.sleep(0.01)
        slow.wait(30)
        order.append("judged")
        raise UserError("no more room on the disk")

    wait = overlapped(lambda: order.append("sampled"), judge, str(tmp_path))
    order.append("next stage")
    slow.set()
    with pytest.raises(UserError, match="no more room"):
        wait()
    assert order == ["sampled", "next stage", "judged"]


def test_what_sampling_raises_is_raised_once_judging_has_ended(tmp_path):
    ended = []

    def sample():
        raise UserError("out of memory")

    def judge(alive):
        while alive():
            time.sleep(0.01)
        ended.append(True)

    with pytest.raises(UserError, match="out of memory"):
        overlapped(sample, judge, str(tmp_path))
    assert ended


def test_judging_ends_if_waiting_for_it_is_interrupted(tmp_path):
    """In a notebook, the process lives on."""
    ended = threading.Event()

    def judge(alive):
        try:
            while True:
                alive()
                time.sleep(0.01)
        finally:
            ended.set()

    wait = overlapped(lambda: None, judge, str(tmp_path))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background may ignore it
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            wait()
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.wait(10)
