#!/usr/bin/env python
"""Runs one pool for a long time, on honest and hostile programs, while its processes are killed at random.

  .venv/bin/python scripts/measure/soak_verifier.py --verdicts 2000000 --minutes 60 --state soak.json

Every attempt is a function of its number: honest ones with an answer of their own (accepted), wrong ones, and a share
--hostile from tests/verifier/hostile. Checks that every verdict comes once, in its place (its answer names its number),
and is right; that memory, descriptors and processes of the pool and its workers stay flat; that nothing is left at the
end. Stopped and started again with the same --state, it continues where it was.

Prints one JSON object. Exit status 1 if a check failed.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from verifier import Limits, Pool, PoolError
from verifier.calibration import calibrate
from verifier.storage import files

CHUNK = 2000
SAMPLE_S = 5.0
IMPOSSIBLE = "def f(x: int):\n    return False"


def read_tricks() -> list[tuple[str, str, set[str]]]:
    """(puzzle, solution, right outcomes) of each file of the hostile corpus."""
    tricks = []
    for path in sorted((ROOT / "tests/verifier/hostile").glob("*.py")):
        source = path.read_text()
        lines = [line[2:] for line in source.splitlines() if line.startswith("# ")]
        puzzle = "\n".join(line.removeprefix("puzzle: ") for line in lines if line.startswith("puzzle:"))
        expect = next(line.removeprefix("expect: ") for line in lines if line.startswith("expect: "))
        tricks.append((puzzle.replace("puzzle:\n", "\n") or IMPOSSIBLE, source, set(expect.split())))
    return tricks


def attempt(number: int, tricks: list, hostile: float, seed: int) -> tuple[dict, set[str], str | None]:
    """An item, its right outcomes, and its answer where there is only one."""
    rng = random.Random(number * 1_000_003 + seed)
    if rng.random() < hostile:
        puzzle, solution, expect = rng.choice(tricks)
        return {"puzzle": puzzle, "solution": f"{solution}\n# {number}\n"}, expect, None
    size = rng.randrange(1, 40)
    puzzle = f"def f(x: List[int], n={number % 5000}):\n    return len(x) > 0 and x[-1] >= n"
    if rng.random() < 0.4:
        return (
            {"puzzle": puzzle, "solution": f"def g(n=3):\n    return [{-1 - number}]"},
            {"wrong"},
            f"[{-1 - number}]",
        )
    solution = f"def g(n=3):\n    return [i * i for i in range({size})] + [{number}]"
    answer = str([*(i * i for i in range(size)), number])
    return {"puzzle": puzzle, "solution": solution}, {"accepted"}, answer[:200]


def family(process: int) -> set[int]:
    """All living processes below one."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = pathlib.Path("/proc", entry, "stat").read_text()
        except OSError:
            continue
        parents[int(entry)] = int(stat.rpartition(")")[2].split()[1])
    found = {process}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {process}


def resident_mb(process: int) -> float:
    try:
        pages = int(pathlib.Path("/proc", str(process), "statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Watcher(threading.Thread):
    """Samples memory, descriptors and processes, and kills one of the workers' processes now and then."""

    def __init__(self, pool: Pool, kill_every_s: float, seed: int):
        super().__init__(daemon=True)
        self._pool, self._every_s, self._rng = pool, kill_every_s, random.Random(seed)
        self.samples: list[dict] = []
        self.kills = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        next_kill, next_sample = time.monotonic() + self._every_s, time.monotonic()
        while not self.stopped.wait(0.5):
            now = time.monotonic()
            if now > next_sample:
                self.samples.append(self._sample())
                next_sample = now + SAMPLE_S
            if self._every_s and now > next_kill:
                self._kill()
                next_kill = now + self._rng.expovariate(1 / self._every_s)

    def _sample(self) -> dict:
        workers = family(os.getpid())
        return {
            "pool_mb": round(resident_mb(os.getpid()), 1),
            "workers_mb": round(sum(map(resident_mb, workers)), 1),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "processes": len(workers),
        }

    def _kill(self) -> None:
        victims = sorted(family(os.getpid()))
        if victims:
            try:
                os.kill(self._rng.choice(victims), signal.SIGKILL)
                self.kills += 1
            except ProcessLookupError:
                return


def trend(samples: list[dict], name: str) -> dict:
    """Medians of the first and last quarter (the very first samples left out: caches fill) and the peak."""
    values = [sample[name] for sample in samples]
    quarter = max(1, len(values) // 4)

    def middle(part: list[float]) -> float:
        return sorted(part)[len(part) // 2]

    return {
        "first_quarter": middle(values[1 : quarter + 1] or values),
        "last_quarter": middle(values[-quarter:]),
        "peak": max(values),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--verdicts", type=int, default=2_000_000)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--hostile", type=float, default=0.05, help="share of attempts")
    parser.add_argument("--kill_every_s", type=float, default=10.0, help="on average; 0 never")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cpu_s", type=float, default=0.4)
    parser.add_argument("--wall_s", type=float, default=8.0)
    parser.add_argument("--recycle_after", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", help="file to go on from")
    options = parser.parse_args()
    state: dict = {
        "number": 0,
        "outcomes": {},
        "unexpected": [],
        "infrastructure": 0,
        "seconds": 0.0,
        "kills": 0,
    }
    path = pathlib.Path(options.state) if options.state else None
    if path and path.exists():
        state = json.loads(path.read_text())
    tricks = read_tricks()
    begun = time.monotonic()
    limits = Limits(options.cpu_s, options.wall_s, 512, 16 << 20)
    with Pool(options.workers, limits, recycle_after=options.recycle_after, batch_size=256) as pool:
        isolation = pool.isolation
        watcher = Watcher(pool, options.kill_every_s, options.seed)
        watcher.start()
        while state["number"] < options.verdicts and time.monotonic() - begun < 60 * options.minutes:
            start = state["number"]
            asked = [
                attempt(number, tricks, options.hostile, options.seed)
                for number in range(start, min(start + CHUNK, options.verdicts))
            ]
            try:
                verdicts = list(pool.judge(item for item, _, _ in asked))
            except PoolError as e:
                state["unexpected"].append(f"pool: {e}"[:300])
                break
            if len(verdicts) != len(asked):
                state["unexpected"].append(f"{len(verdicts)} verdicts for {len(asked)} attempts from {start}")
            for number, ((_, expect, answer), verdict) in enumerate(
                zip(asked, verdicts, strict=False), start
            ):
                state["outcomes"][verdict.outcome] = state["outcomes"].get(verdict.outcome, 0) + 1
                if verdict.outcome == "infrastructure":
                    state["infrastructure"] += 1
                elif verdict.outcome not in expect or (answer is not None and verdict.answer != answer):
                    state["unexpected"].append(
                        f"{number}: {verdict.outcome} {verdict.detail} {verdict.answer}"[:300]
                    )
            state["number"] += len(asked)
            if path:
                now = {
                    "seconds": state["seconds"] + time.monotonic() - begun,
                    "kills": state["kills"] + watcher.kills,
                }
                files.write_atomic(path, json.dumps(state | now))
        watcher.stopped.set()
        watcher.join()
        before = family(os.getpid())
        counters = dict(pool.counters)
    deadline = time.monotonic() + 10
    while (left := [p for p in before if os.path.exists(f"/proc/{p}")]) and time.monotonic() < deadline:
        time.sleep(0.1)
    seconds = time.monotonic() - begun
    names = ("pool_mb", "workers_mb", "descriptors", "processes")
    found = {
        "command": " ".join(["scripts/measure/soak_verifier.py", *sys.argv[1:]]),
        "machine": {
            "cpus": os.cpu_count(),
            "load_average": os.getloadavg(),
            "calibration_cpu_s": calibrate(),
        },
        "isolation": isolation,
        "verdicts": state["number"],
        "minutes": round((state["seconds"] + seconds) / 60, 2),
        "kills": state["kills"] + watcher.kills,
        "workers_lost": counters.get("workers_lost", 0),
        "workers_started": counters.get("workers_started", 0),
        "outcomes": dict(sorted(state["outcomes"].items(), key=lambda item: -item[1])),
        "infrastructure": state["infrastructure"],
        "unexpected": state["unexpected"][:50],
        "unexpected_count": len(state["unexpected"]),
        "trend": {name: trend(watcher.samples, name) for name in names} if watcher.samples else {},
        "left_behind": len(left),
    }
    print(json.dumps(found))
    sys.exit(bool(state["unexpected"] or left))


if __name__ == "__main__":
    main()
