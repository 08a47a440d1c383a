"""Verdicts do not move with the machine's load: CPU seconds decide, and other processes do not use those up."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from verifier import Limits, Pool, Verdict

BUSY = 8
# quick, wrong, erring, endless, and work of a third of the limit: what a wall clock would get wrong under load
PUZZLE = "def f(x: List[int], n={}):\n    return sorted(x) == list(range(n))"
SOLUTIONS = [
    "def g(n={}):\n    return list(range(n))[::-1]",
    "def g(n={}):\n    return [n]",
    "def g(n={}):\n    return [1 // (n - n)]",
    "def g(n={}):\n    total = 0\n    for i in range(10**6):\n        total += i % 7\n    return list(range(n))",
]
LOOP = "def g(n={}):\n    while True:\n        n += 1"


def attempts() -> list[dict[str, str]]:
    found = []
    for i in range(30):
        bodies = [*SOLUTIONS, LOOP] if i % 10 == 0 else SOLUTIONS
        found += [{"puzzle": PUZZLE.format(i + 3), "solution": body.format(i + 3)} for body in bodies]
    return found


@contextlib.contextmanager
def overload(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
        for loop in loops:
            loop.wait()


def test_eight_busy_processes_change_no_verdict():
    items = attempts()
    # a limit well above what the slowest honest one needs: borderline cases would test the CPU's caches
    limits = Limits(cpu_s=0.6, wall_s=60)
    with Pool(2, limits, reuse=0) as pool:
        idle: list[Verdict] = list(pool.judge(items))
        with overload(BUSY):
            busy = list(pool.judge(items))
    flips = [(a.outcome, b.outcome) for a, b in zip(idle, busy, strict=True) if a.outcome != b.outcome]
    print(f"flip rate with {BUSY} busy processes: {len(flips)} of {len(items)}")
    assert not flips
    assert {verdict.outcome for verdict in busy} >= {
        "accepted",
        "wrong",
        "error:ZeroDivisionError",
        "cpu_limit",
    }
