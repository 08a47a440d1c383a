"""Workers die, hang, are stopped; pools are closed, killed, used from threads: nothing is lost, nothing leaks."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from verifier import Limits, Pool, PoolError
from verifier import pool as pool_module

GOOD = {"puzzle": "def f(x: int):\n    return x == 1", "solution": "def g():\n    return 1"}
SLOW = {
    "puzzle": "def f(x: int):\n    return x > 0",
    "solution": "def g():\n    return sum(i for i in range(2 * 10**6))",
}
LOOP = {"puzzle": GOOD["puzzle"], "solution": "def g():\n    while True:\n        pass"}
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def is_alive(process: int) -> bool:
    """Zombies are dead: in a container nobody may be there to bury them."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def family(process: int) -> set[int]:
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parents[int(entry)] = int(
                pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1]
            )
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def wait_until(condition, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("isolation", ["auto", "rlimits"])
def test_close_ends_everything(isolation):
    pool = Pool(2, Limits(cpu_s=30), isolation=isolation, batch_size=1)
    stream = pool.judge([GOOD, LOOP, LOOP, LOOP])
    assert next(stream).accepted
    processes = set.union(*(family(process) for process in pool.pids()))
    assert len(processes) >= 3
    stream.close()
    pool.close()
    assert wait_until(lambda: not any(map(is_alive, processes)))
    pool.close()  # twice does no harm
    with pytest.raises(RuntimeError, match="closed"):
        next(pool.judge([GOOD]))


@pytest.mark.parametrize("isolation", ["auto", "rlimits"])
def test_killed_workers_lose_nothing(isolation):
    """Workers are killed again and again under a stream of work; every verdict comes, once, and is right."""
    count = 600
    with Pool(2, isolation=isolation, batch_size=16, reuse=0) as pool:
        everybody = set()
        accepted = []
        for i, verdict in enumerate(pool.judge([GOOD] * count)):
            accepted.append(verdict.accepted)
            if i in (50, 350):  # three kills of workers that have not started yet would be a broken pool
                everybody |= set.union(*(family(process) for process in pool.pids()))
                os.kill(pool.pids()[i % 2], signal.SIGKILL)
        everybody |= set.union(*(family(process) for process in pool.pids()))
    assert accepted == [True] * count
    assert wait_until(lambda: not any(map(is_alive, everybody)))


def test_worker_lost_twice_over_an_attempt_is_infrastructure():
    """Never `wrong`: whatever kills a worker says nothing about the attempt."""
    with Pool(1, Limits(cpu_s=20), batch_size=4, reuse=0) as pool:
        stop = threading.Event()

        def assassin():
            while not stop.is_set():
                with contextlib.suppress(ProcessLookupError, IndexError):
                    os.kill(pool.pids()[0], signal.SIGKILL)
                time.sleep(0.4)

        pool.isolation  # noqa: B018
        thread = threading.Thread(target=assassin)
        thread.start()
        try:
            verdicts = list(pool.judge([LOOP, LOOP]))
        except PoolError:
            verdicts = []  # the assassin was quicker than three starts
        finally:
            stop.set()
            thread.join()
    assert {verdict.outcome for verdict in verdicts} <= {"infrastructure"}


def test_worker_that_hangs_is_replaced(monkeypatch):
    monkeypatch.setattr(pool_module, "SILENCE_S", 1.5)
    with Pool(1, isolation="rlimits", reuse=0) as pool:
        assert next(pool.judge([GOOD])).accepted
        stopped = pool.pids()[0]
        os.kill(stopped, signal.SIGSTOP)
        assert [verdict.accepted for verdict in pool.judge([GOOD] * 3)] == [True] * 3
        assert pool.pids() != [stopped]
    assert not is_alive(stopped)


def test_workers_are_recycled():
    with Pool(1, batch_size=8, recycle_after=20, reuse=0) as pool:
        first = pool.pids()
        assert all(verdict.accepted for verdict in pool.judge([GOOD] * 100))
        assert pool.pids() != first


def test_long_work_is_not_taken_for_silence(monkeypatch):
    monkeypatch.setattr(pool_module, "SILENCE_S", 5.0)
    with Pool(1, Limits(cpu_s=6)) as pool:
        pids = pool.pids()
        assert next(pool.judge([LOOP])).outcome == "cpu_limit"
        assert pool.pids() == pids


def test_slow_consumer_is_not_taken_for_silence(monkeypatch):
    monkeypatch.setattr(pool_module, "SILENCE_S", 0.5)
    with Pool(1, batch_size=4, reuse=0) as pool:
        pool.isolation  # noqa: B018
        pids = pool.pids()
        for verdict in pool.judge([GOOD] * 40):
            assert verdict.accepted
            if verdict is not None and pool.pids() == pids:
                time.sleep(0.02)


def test_workers_that_cannot_start(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(PoolError, match="do not start"), Pool(1) as pool:
        list(pool.judge([GOOD]))


def test_isolation_that_cannot_be_had(monkeypatch):
    with pytest.raises(ValueError, match="weaker"):
        Pool(1, isolation="rlimits", require="landlock")
    with pytest.raises(ValueError, match="isolation must be"):
        Pool(1, isolation="everything")


def test_flat_descriptors_and_memory():
    """Thousands of verdicts leave neither descriptors nor memory behind, here or in the workers."""

    def resident_kb(process: int) -> int:
        status = pathlib.Path(f"/proc/{process}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def judge(count: int) -> None:
        puzzle = "def f(x: List[int], n={}):\n    return len(x) == 1000 + n - n"
        items = (
            {"puzzle": puzzle.format(i % 1500), "solution": f"def g(n=3):\n    return [{i}] * 1000"}
            for i in range(count)
        )
        assert all(verdict.accepted for verdict in pool.judge(items))

    with Pool(1) as pool:
        judge(1500)
        workers = family(pool.pids()[0])
        before = len(os.listdir("/proc/self/fd")), {process: resident_kb(process) for process in workers}
        judge(3000)
        assert len(os.listdir("/proc/self/fd")) == before[0]
        for process, kb in before[1].items():
            assert resident_kb(process) < kb + 24_000


# A suite started in the background of a shell ignores Ctrl-C, and so would what it starts.
PARENT = """
import signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {root!r})
from verifier import Limits, Pool
for _ in range(20):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
pool = Pool(2, Limits(cpu_s=60), isolation={isolation!r}, reuse=0)
pool.isolation
print(*pool.pids(), flush=True)
loop = {{"puzzle": "def f(x: int):\\n    return x == 1", "solution": "def g():\\n    while True:\\n        pass"}}
try:
    list(pool.judge([loop] * 10))
except KeyboardInterrupt:
    {on_interrupt}
"""


@pytest.mark.parametrize("isolation", ["auto", "rlimits"])
@pytest.mark.parametrize(
    ("number", "on_interrupt"),
    [
        (signal.SIGKILL, "raise"),
        (signal.SIGINT, "raise"),
        (signal.SIGINT, "pool.close()"),
        (signal.SIGTERM, "raise"),
    ],
)
def test_nothing_outlives_the_parent(isolation, number, on_interrupt):
    """However the process that has the pool ends, at work, its workers and their children end too."""
    code = PARENT.format(root=str(REPOSITORY), isolation=isolation, on_interrupt=on_interrupt)
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        workers = [int(word) for word in parent.stdout.readline().split()]
        assert len(workers) == 2
        assert wait_until(lambda: len(set.union(*map(family, workers))) >= 6)
        processes = set.union(*map(family, workers))
        parent.send_signal(number)
        parent.wait(20)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    assert wait_until(lambda: not any(map(is_alive, processes)), 15)


def test_candidates_inherit_no_descriptors():
    """Not even from a parent that has inheritable ones open."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    probe = (
        "import random\n\ndef g():\n    found = []\n    for handle in range(3, 256):\n        try:\n"
        "            random._os.fstat(handle)\n            found.append(handle)\n"
        "        except OSError:\n            pass\n    return found\n"
    )
    try:
        with Pool(1) as pool:
            verdict = next(
                pool.judge([{"puzzle": "def f(x: List[int]):\n    return x == []", "solution": probe}])
            )
    finally:
        os.close(reader)
        os.close(writer)
    assert verdict.accepted, verdict


SEARCH = """
import random

def g():
    found = []
    for item in random._os.sys.modules['gc'].get_objects():
        parts = list(item.values()) if type(item) is dict else item
        if type(parts) in (list, tuple):
            texts = [str(part) for part in parts if type(part) in (str, bytes)]
            found += [text[:80] for text in texts if TEXT in text]
    return found
"""


def test_solutions_are_forked_from_a_process_without_puzzles():
    """A solution searches everything it can reach for the text of its puzzle and other attempts' answers."""
    secret = "x == 918273645546372819"
    search = SEARCH.replace("TEXT", "''.join(['918', '273', '6455'])")
    items = [
        {
            "puzzle": f"def f(x: int):\n    return {secret}",
            "solution": f"def g():\n    return {secret.split()[-1]}",
        },
        {"puzzle": f"def f(x: List[str]):\n    return x == ['{secret}']", "solution": search},
    ]
    with Pool(1) as pool:
        for _ in range(3):
            first, second = pool.judge(items)
            assert first.accepted
            assert second.answer == "[]", second
